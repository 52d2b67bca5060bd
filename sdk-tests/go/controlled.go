package main

import (
	"context"
	"time"

	"github.com/inngest/inngest/pkg/enums"
	"github.com/inngest/inngestgo"
	"github.com/inngest/inngestgo/step"
)

// defineControlled defines functions under flow control: all but one do the same, and each has one option.
func (a app) defineControlled() {
	key := "event.data.u"
	limits := func(limits ...inngestgo.ConfigStepConcurrency) *inngestgo.ConfigConcurrency {
		return &inngestgo.ConfigConcurrency{Step: limits}
	}
	perKey := inngestgo.ConfigStepConcurrency{Limit: 1, Key: &key}
	urgency := "event.data.u == 'gold' ? 120 : 0"

	for _, options := range []options{
		{ID: "limit-number", Concurrency: limits(inngestgo.ConfigStepConcurrency{Limit: 2})},
		{ID: "limit-key", Concurrency: limits(perKey)},
		{ID: "limit-both", Concurrency: limits(inngestgo.ConfigStepConcurrency{Limit: 3}, perKey)},
		{ID: "throttled", Throttle: &inngestgo.ConfigThrottle{Limit: 1, Period: time.Second, Burst: 1}},
		{ID: "rate-limited", RateLimit: &inngestgo.ConfigRateLimit{Limit: 1, Period: time.Minute, Key: &key}},
		{ID: "debounced", Debounce: &inngestgo.ConfigDebounce{Period: time.Second, Key: key}},
		{ID: "batched", BatchEvents: &inngestgo.ConfigBatchEvents{MaxSize: 3, Timeout: 2 * time.Second, Key: &key}},
		{
			ID:          "urgent",
			Concurrency: limits(inngestgo.ConfigStepConcurrency{Limit: 1}),
			Priority:    &inngestgo.ConfigPriority{Run: &urgency},
		},
		{ID: "single-skip", Singleton: &inngestgo.ConfigSingleton{Mode: enums.SingletonModeSkip, Key: &key}},
		{ID: "single-cancel", Singleton: &inngestgo.ConfigSingleton{Mode: enums.SingletonModeCancel, Key: &key}},
		{ID: "idempotent", Idempotency: &key},
	} {
		a.on(options, func(ctx context.Context, c call) (any, error) {
			c.note("begin")
			time.Sleep(300 * time.Millisecond)
			c.note("end")
			return object{"count": len(c.Events)}, nil
		})
	}

	runs := &inngestgo.ConfigConcurrency{Fn: []inngestgo.ConfigFnConcurrency{{Limit: 1}}}
	a.on(options{ID: "limit-runs", Concurrency: runs}, func(ctx context.Context, c call) (any, error) {
		pass(ctx, c, "begin")
		step.Sleep(ctx, "nap", time.Second)
		pass(ctx, c, "end")
		return object{"count": len(c.Events)}, nil
	})
}
