package main

import (
	"sync"
	"time"
)

// journal is what the app executed, by run id, so that the tests can tell a memoised step from one that ran twice.
type journal struct {
	lock    sync.Mutex
	entries map[string][]entry
}

type entry struct {
	Step string `json:"step"`
	At   int64  `json:"at"`
}

type listing struct {
	Now     int64   `json:"now"`
	Entries []entry `json:"entries"`
}

func newJournal() *journal {
	return &journal{entries: map[string][]entry{}}
}

// note notes that a step of a run was executed and returns how often it was by now.
func (j *journal) note(run, step string) int {
	j.lock.Lock()
	defer j.lock.Unlock()
	j.entries[run] = append(j.entries[run], entry{step, time.Now().UnixMilli()})
	times := 0
	for _, noted := range j.entries[run] {
		if noted.Step == step {
			times++
		}
	}
	return times
}

func (j *journal) of(run string) listing {
	j.lock.Lock()
	defer j.lock.Unlock()
	return listing{time.Now().UnixMilli(), append([]entry{}, j.entries[run]...)}
}
