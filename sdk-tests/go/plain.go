package main

import (
	"context"
	"strings"
	"time"

	"github.com/inngest/inngest/pkg/enums"
	"github.com/inngest/inngestgo"
	"github.com/inngest/inngestgo/group"
	"github.com/inngest/inngestgo/pkg/checkpoint"
	"github.com/inngest/inngestgo/step"
)

type object = map[string]any

// definePlain defines what runs, sleeps, sends and is started by a schedule.
func (a app) definePlain() {
	a.on(options{ID: "hello"}, func(_ context.Context, c call) (any, error) {
		c.note("body")
		return object{"greeting": "hello " + c.text("name")}, nil
	})

	wildcards := inngestgo.MultipleTriggers{
		inngestgo.EventTrigger("sdk/wild.*", nil),
		inngestgo.EventTrigger("sdk/second", nil),
	}
	a.define(options{ID: "wildcard"}, wildcards, func(_ context.Context, c call) (any, error) {
		return object{"name": c.Event.Name}, nil
	})

	type doubled struct {
		Doubled int `json:"doubled"`
	}
	a.on(options{ID: "steps"}, func(ctx context.Context, c call) (any, error) {
		one := noted(ctx, c, "one", c.number("n")+1)
		two := noted(ctx, c, "two", doubled{one * 2})
		three := noted(ctx, c, "three", []int{one, two.Doubled})
		return object{"one": one, "two": two, "three": three}, nil
	})

	a.on(options{ID: "parallel"}, func(ctx context.Context, c call) (any, error) {
		branch := func(name string, value int) func(context.Context) (any, error) {
			return func(ctx context.Context) (any, error) { return noted(ctx, c, name, value), nil }
		}
		results := group.Parallel(ctx, branch("left", 1), branch("middle", 2), branch("right", 3))
		sum := 0
		for _, result := range results {
			sum += result.Value.(int)
		}
		return object{"values": values(results), "sum": noted(ctx, c, "join", sum)}, results.AnyError()
	})

	a.on(options{ID: "parallel-race"}, func(ctx context.Context, c call) (any, error) {
		fast := func(ctx context.Context) (any, error) {
			pass(ctx, c, "fast")
			return noted(ctx, c, "fast next", "fast next"), nil
		}
		slow := func(ctx context.Context) (any, error) {
			return step.Run(ctx, "slow", func(context.Context) (string, error) {
				time.Sleep(2 * time.Second)
				c.note("slow done")
				return "slow", nil
			})
		}
		race := group.ParallelOpts{ParallelMode: enums.ParallelModeRace}
		results := group.ParallelWithOpts(ctx, race, fast, slow)
		return object{"values": values(results)}, results.AnyError()
	})

	a.on(options{ID: "sleep"}, func(ctx context.Context, c call) (any, error) {
		pass(ctx, c, "before")
		step.Sleep(ctx, "nap", time.Second)
		pass(ctx, c, "after")
		return object{"slept": true}, nil
	})

	a.on(options{ID: "fan-out"}, func(ctx context.Context, c call) (any, error) {
		var children []inngestgo.Event
		for n := 1; n <= 3; n++ {
			children = append(children, inngestgo.Event{Name: "sdk/fan-out.child", Data: object{"n": n}})
		}
		ids, err := step.SendMany(ctx, "send", children)
		return object{"ids": ids}, err
	})

	child := inngestgo.EventTrigger("sdk/fan-out.child", nil)
	a.define(options{ID: "fan-out-child"}, child, func(ctx context.Context, c call) (any, error) {
		return noted(ctx, c, "multiply", c.number("n")*10), nil
	})

	a.on(options{ID: "big-output"}, func(ctx context.Context, c call) (any, error) {
		text := noted(ctx, c, "make", strings.Repeat("é", c.number("size")/2))
		return object{"bytes": noted(ctx, c, "measure", len(text)), "text": text}, nil
	})

	a.define(options{ID: "cron"}, inngestgo.CronTrigger("* * * * *"), func(_ context.Context, c call) (any, error) {
		c.journal.note("cron", "tick "+c.text("cron"))
		return nil, nil
	})

	a.on(options{ID: "checkpointed", Retries: retries(2), Checkpoint: checkpoint.ConfigSafe}, checkpointed)
	batches := &checkpoint.Config{BatchSteps: 3, BatchInterval: 2 * time.Second}
	a.on(options{ID: "checkpointed-batch", Retries: retries(2), Checkpoint: batches}, checkpointed)

	a.on(options{ID: "crash-asleep"}, func(ctx context.Context, c call) (any, error) {
		for _, name := range []string{"a", "b", "c"} {
			pass(ctx, c, name)
		}
		step.Sleep(ctx, "over the crash", 3*time.Second)
		for _, name := range []string{"d", "e", "f"} {
			pass(ctx, c, name)
		}
		return object{"done": true}, nil
	})

	a.on(options{ID: "crash-awake"}, func(ctx context.Context, c call) (any, error) {
		pass(ctx, c, "before")
		_, err := step.Run(ctx, "slow", func(context.Context) (any, error) {
			c.note("slow")
			time.Sleep(1500 * time.Millisecond)
			return nil, nil
		})
		pass(ctx, c, "after")
		return object{"done": true}, err
	})
}

func checkpointed(ctx context.Context, c call) (any, error) {
	c.note("call")
	values := []string{noted(ctx, c, "a", "a"), noted(ctx, c, "b", "b")}
	step.Sleep(ctx, "nap", time.Second)
	values = append(values, noted(ctx, c, "c", "c"))
	flaky, err := step.Run(ctx, "flaky", func(context.Context) (string, error) {
		return "flaky", failUntil(c, "flaky", 2)
	})
	if err != nil {
		return nil, err
	}
	values = append(values, flaky, noted(ctx, c, "d", "d"))
	return object{"values": values}, nil
}

func values(results group.Results) []any {
	var values []any
	for _, result := range results {
		values = append(values, result.Value)
	}
	return values
}
