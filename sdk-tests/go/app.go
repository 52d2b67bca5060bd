package main

import (
	"context"
	"log"
	"time"

	"github.com/inngest/inngestgo"
	"github.com/inngest/inngestgo/step"
)

// app defines the functions: those of ../js/scenarios.mjs that the SDK can express.
type app struct {
	client  inngestgo.Client
	journal *journal
}

type options = inngestgo.FunctionOpts

// triggers start a function: one trigger or several.
type triggers interface{ Triggers() []inngestgo.Trigger }

type input = inngestgo.Input[map[string]any]

// call is one call of a function.
type call struct {
	app
	input
}

func (a app) define(options options, trigger triggers, body func(context.Context, call) (any, error)) {
	function := func(ctx context.Context, input input) (any, error) { return body(ctx, call{a, input}) }
	if _, err := inngestgo.CreateFunction(a.client, options, trigger, function); err != nil {
		log.Fatal(err)
	}
}

// on defines a function that events of its own name start.
func (a app) on(options options, body func(context.Context, call) (any, error)) {
	a.define(options, inngestgo.EventTrigger("sdk/"+options.ID, nil), body)
}

// note notes that a part of the function was executed and returns how often it was by now.
func (c call) note(part string) int {
	return c.journal.note(c.InputCtx.RunID, part)
}

func (c call) number(key string) int {
	return int(c.Event.Data[key].(float64))
}

func (c call) text(key string) string {
	return c.Event.Data[key].(string)
}

func (c call) seconds() time.Duration {
	return time.Duration(c.number("seconds")) * time.Second
}

// noted is a step that is noted and has the value.
func noted[T any](ctx context.Context, c call, name string, value T) T {
	value, err := step.Run(ctx, name, func(context.Context) (T, error) {
		c.note(name)
		return value, nil
	})
	if err != nil {
		panic(err)
	}
	return value
}

// pass is a step that is noted.
func pass(ctx context.Context, c call, name string) {
	noted(ctx, c, name, true)
}

func retries(count int) *int {
	return &count
}
