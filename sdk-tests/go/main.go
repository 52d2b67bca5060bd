// The app on the Go SDK, served by net/http.
package main

import (
	"encoding/json"
	"log"
	"net/http"
	"os"

	"github.com/inngest/inngestgo"
)

const appID = "sdk-go"

func main() {
	client, err := inngestgo.NewClient(inngestgo.ClientOpts{AppID: appID})
	if err != nil {
		log.Fatal(err)
	}
	journal := newJournal()
	functions := app{client, journal}
	functions.definePlain()
	functions.defineFailing()
	functions.defineWaiting()
	functions.defineGateways()
	functions.defineControlled()

	http.Handle("/api/inngest", client.Serve())
	http.HandleFunc("GET /log/{run}", func(writer http.ResponseWriter, request *http.Request) {
		reply(writer, journal.of(request.PathValue("run")), nil)
	})
	http.HandleFunc("POST /send", func(writer http.ResponseWriter, request *http.Request) {
		var event inngestgo.Event
		err := json.NewDecoder(request.Body).Decode(&event)
		if err != nil {
			reply(writer, nil, err)
			return
		}
		id, err := client.Send(request.Context(), event)
		reply(writer, map[string][]string{"ids": {id}}, err)
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil))
}

func reply(writer http.ResponseWriter, value any, err error) {
	if err != nil {
		http.Error(writer, err.Error(), http.StatusInternalServerError)
		return
	}
	writer.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(writer).Encode(value); err != nil {
		log.Print(err)
	}
}
