package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/inngest/inngestgo"
	"github.com/inngest/inngestgo/group"
	"github.com/inngest/inngestgo/step"
)

// defineWaiting defines what waits for something outside, or ends because of it.
func (a app) defineWaiting() {
	sameID := "async.data.id == event.data.id"

	a.on(options{ID: "wait"}, func(ctx context.Context, c call) (any, error) {
		pass(ctx, c, "before")
		wanted := step.WaitForEventOpts{Event: "sdk/reply", If: &sameID, Timeout: c.seconds()}
		reply, err := step.WaitForEvent[inngestgo.Event](ctx, "reply", wanted)
		pass(ctx, c, "after")
		if errors.Is(err, step.ErrEventNotReceived) {
			return object{"name": nil, "n": nil}, nil
		}
		return object{"name": reply.Name, "n": reply.Data["n"]}, err
	})

	a.on(options{ID: "signal"}, func(ctx context.Context, c call) (any, error) {
		pass(ctx, c, "before")
		wanted := step.WaitForSignalOpts{Signal: c.text("signal"), Timeout: c.seconds()}
		signal, err := step.WaitForSignal[object](ctx, "wait", wanted)
		pass(ctx, c, "after")
		if errors.Is(err, step.ErrSignalNotReceived) {
			return object{"signal": nil, "data": nil}, nil
		}
		return signal, err
	})

	a.defineInvoking()

	cancel := []inngestgo.ConfigCancel{{Event: "sdk/cancel", If: &sameID}}
	a.on(options{ID: "cancellable", Cancel: cancel}, func(ctx context.Context, c call) (any, error) {
		step.Sleep(ctx, "long", c.seconds())
		pass(ctx, c, "after")
		return nil, nil
	})

	finish := 2 * time.Second
	timeouts := &inngestgo.ConfigTimeouts{Finish: &finish}
	a.on(options{ID: "finish-timeout", Timeouts: timeouts}, func(ctx context.Context, c call) (any, error) {
		pass(ctx, c, "before")
		step.Sleep(ctx, "long", time.Minute)
		pass(ctx, c, "after")
		return nil, nil
	})

	a.on(options{ID: "parallel-mixed"}, func(ctx context.Context, c call) (any, error) {
		results := group.Parallel(
			ctx,
			func(ctx context.Context) (any, error) { return noted(ctx, c, "ran", 1), nil },
			func(ctx context.Context) (any, error) {
				step.Sleep(ctx, "nap", time.Second)
				return nil, nil
			},
			func(ctx context.Context) (any, error) {
				wanted := step.WaitForEventOpts{Event: "sdk/never", Timeout: time.Second}
				_, err := step.WaitForEvent[inngestgo.Event](ctx, "wait", wanted)
				if errors.Is(err, step.ErrEventNotReceived) {
					return nil, nil
				}
				return "matched", err
			},
			func(ctx context.Context) (any, error) {
				child, err := invoke(ctx, "invoked", object{"n": 5}, 0)
				return object{"doubled": child["doubled"]}, err
			},
		)
		pass(ctx, c, "after")
		return object{"values": values(results)}, results.AnyError()
	})
}

func (a app) defineInvoking() {
	a.on(options{ID: "invoked", Retries: retries(0)}, func(ctx context.Context, c call) (any, error) {
		return object{"doubled": noted(ctx, c, "double", c.number("n")*2), "name": c.Event.Name}, nil
	})

	a.on(options{ID: "invoked-refusing", Retries: retries(3)}, func(context.Context, call) (any, error) {
		return nil, inngestgo.NoRetryError(errors.New("child refused"))
	})

	a.on(options{ID: "invoked-slow"}, func(ctx context.Context, _ call) (any, error) {
		step.Sleep(ctx, "long", 5*time.Second)
		return nil, nil
	})

	a.on(options{ID: "invoke"}, func(ctx context.Context, c call) (any, error) {
		pass(ctx, c, "before")
		child, err := invoke(ctx, "invoked", object{"n": c.number("n")}, 0)
		pass(ctx, c, "after")
		return child, err
	})

	for _, caught := range []struct {
		id, function string
		timeout      time.Duration
	}{
		{"invoke-failed", "invoked-refusing", 0},
		{"invoke-unknown", "nobody", 0},
		{"invoke-timeout", "invoked-slow", time.Second},
	} {
		a.on(options{ID: caught.id, Retries: retries(0)}, func(ctx context.Context, c call) (any, error) {
			_, err := invoke(ctx, caught.function, object{}, caught.timeout)
			pass(ctx, c, "recover")
			return object{"caught": fmt.Sprint(err)}, nil
		})
	}
}

// invoke runs another function of this app.
func invoke(ctx context.Context, function string, data object, timeout time.Duration) (object, error) {
	wanted := step.InvokeOpts{FunctionId: appID + "-" + function, Data: data, Timeout: timeout}
	return step.Invoke[object](ctx, "child", wanted)
}
