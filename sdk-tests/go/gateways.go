package main

import (
	"context"
	"encoding/json"

	"github.com/inngest/inngestgo/step"
)

type completion struct {
	Model   string `json:"model"`
	Choices []struct {
		Message struct {
			Content string `json:"content"`
		} `json:"message"`
	} `json:"choices"`
}

// defineGateways defines what lets the server make requests.
func (a app) defineGateways() {
	a.on(options{ID: "fetch", Retries: retries(0)}, func(ctx context.Context, c call) (any, error) {
		headers := map[string]string{"x-sdk-test": "yes", "content-type": "application/json"}
		request := step.FetchOpts{URL: c.text("url"), Method: "PUT", Headers: headers, Body: `{"n":1}`}
		response, err := step.Fetch[string](ctx, "fetch", request)
		if err != nil {
			return nil, err
		}
		pass(ctx, c, "after")
		return object{"status": response.StatusCode, "echo": json.RawMessage(response.Body)}, nil
	})

	a.on(options{ID: "fetch-refused", Retries: retries(0)}, func(ctx context.Context, c call) (any, error) {
		_, err := step.Fetch[string](ctx, "fetch", step.FetchOpts{URL: c.text("url"), Method: "GET"})
		pass(ctx, c, "recover")
		return object{"caught": err != nil}, nil
	})

	a.on(options{ID: "ai-infer", Retries: retries(0)}, func(ctx context.Context, c call) (any, error) {
		key, url := "sk-test", c.text("url")
		reply, err := step.Infer[object, completion](ctx, "ask", step.InferOpts[object]{
			Opts: step.InferOpenAIOpts(&key, &url),
			Body: object{
				"model":    "gpt-4o-mini",
				"messages": []object{{"role": "user", "content": "hello"}},
			},
		})
		if err != nil {
			return nil, err
		}
		pass(ctx, c, "after")
		return object{"model": reply.Model, "answer": reply.Choices[0].Message.Content}, nil
	})
}
