package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/inngest/inngestgo"
	"github.com/inngest/inngestgo/step"
)

// defineFailing defines what fails and is tried again. The SDK has no failure handlers and tells no causes.
func (a app) defineFailing() {
	a.on(options{ID: "retry", Retries: retries(3)}, func(ctx context.Context, c call) (any, error) {
		pass(ctx, c, "first")
		tries, err := step.Run(ctx, "flaky", func(context.Context) (int, error) {
			return 3, failUntil(c, "flaky", 3)
		})
		if err != nil {
			return nil, err
		}
		pass(ctx, c, "last")
		return object{"tries": tries}, nil
	})

	a.on(options{ID: "retry-after", Retries: retries(1)}, func(ctx context.Context, c call) (any, error) {
		tries, err := step.Run(ctx, "late", func(context.Context) (int, error) {
			if err := failUntil(c, "late", 2); err != nil {
				return 0, inngestgo.RetryAtError(err, time.Now().Add(3*time.Second))
			}
			return 2, nil
		})
		return object{"tries": tries}, err
	})

	a.on(options{ID: "step-error", Retries: retries(1)}, func(ctx context.Context, c call) (any, error) {
		_, err := step.Run(ctx, "refused", func(context.Context) (any, error) {
			c.note("refused")
			return nil, errors.New("card refused")
		})
		pass(ctx, c, "recover")
		return object{"caught": fmt.Sprint(err)}, nil
	})

	a.on(options{ID: "failure", Retries: retries(3)}, func(ctx context.Context, c call) (any, error) {
		pass(ctx, c, "before")
		c.note("body")
		return nil, inngestgo.NoRetryError(errors.New("cannot go on"))
	})

	a.on(options{ID: "exhausted", Retries: retries(1)}, func(ctx context.Context, c call) (any, error) {
		return step.Run(ctx, "hopeless", func(context.Context) (any, error) {
			c.note("hopeless")
			return nil, errors.New("never works")
		})
	})

	a.on(options{ID: "function-error", Retries: retries(2)}, func(ctx context.Context, c call) (any, error) {
		pass(ctx, c, "before")
		err := failUntil(c, "body", 2)
		return object{"attempt": c.InputCtx.Attempt}, err
	})

	a.on(options{ID: "error-cause", Retries: retries(0)}, func(context.Context, call) (any, error) {
		return nil, errors.New("outer")
	})
}

// failUntil notes a part and fails unless it was executed so many times by now.
func failUntil(c call, part string, times int) error {
	if noted := c.note(part); noted < times {
		return fmt.Errorf("%s %d", part, noted)
	}
	return nil
}
