// The scenarios that every official client must have, for Go.
//
//	scenarios SETTINGS.json TABLE.json
//
// TABLE.json lists the scenarios; SETTINGS.json describes a network (see world.go), which may be any
// Fabric network that has the contract of the scenarios. A line of JSON is printed for each scenario:
// {"scenario", "passed", "ms", "error"}. The exit code is 0 whenever all were run.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

const deadline = 90 * time.Second

type scenario func(*world)

type outcome struct {
	Scenario string  `json:"scenario"`
	Passed   bool    `json:"passed"`
	Ms       int64   `json:"ms"`
	Error    *string `json:"error"`
}

type failure struct{ words string }

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: scenarios SETTINGS.json TABLE.json")
		os.Exit(2)
	}
	var table []struct {
		Name string `json:"name"`
	}
	var given settings
	load(os.Args[1], &given)
	load(os.Args[2], &table)

	all := map[string]scenario{}
	for _, group := range []map[string]scenario{
		connecting, transactions, events, privateData, signing, failures, deadlines,
	} {
		for name, each := range group {
			all[name] = each
		}
	}
	w := newWorld(given)
	defer w.close()
	var names []string
	for _, row := range table {
		names = append(names, row.Name)
		run(row.Name, all[row.Name], w)
	}
	for name := range all {
		if !slices.Contains(names, name) {
			tell(name, 0, "the table of scenarios does not list it")
		}
	}
}

func load(path string, into any) {
	content, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(content, into)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", path, err)
		os.Exit(2)
	}
}

func run(name string, body scenario, w *world) {
	started := time.Now()
	ended := make(chan string, 1)
	go func() {
		defer func() { ended <- describe(recover()) }()
		verify(body != nil, "there is no scenario %s for this client", name)
		body(w)
	}()
	var words string
	select {
	case words = <-ended:
	case <-time.After(deadline):
		words = fmt.Sprintf("it did not end within %s", deadline)
	}
	tell(name, time.Since(started).Milliseconds(), words)
}

func describe(caught any) string {
	if caught == nil {
		return ""
	}
	if known, ok := caught.(failure); ok {
		return known.words
	}
	trace := make([]byte, 4096)
	return fmt.Sprintf("%v\n%s", caught, trace[:runtime.Stack(trace, false)])
}

func tell(name string, ms int64, words string) {
	said := outcome{Scenario: name, Passed: words == "", Ms: ms}
	if words != "" {
		said.Error = &words
	}
	line, err := json.Marshal(said)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(line))
}

// fail ends the scenario that runs, and says where it stood.
func fail(format string, values ...any) {
	words := fmt.Sprintf(format, values...)
	for depth := 1; depth < 8; depth++ {
		if _, file, line, ok := runtime.Caller(depth); ok && strings.HasSuffix(file, ".go") {
			words += fmt.Sprintf("\n  at %s:%d", file[strings.LastIndex(file, "/")+1:], line)
		}
	}
	panic(failure{words})
}

func verify(holds bool, format string, values ...any) {
	if !holds {
		fail(format, values...)
	}
}

func equal[T comparable](got, expected T) {
	if got != expected {
		fail("got %v, expected %v", got, expected)
	}
}

func text(got []byte, expected string) {
	equal(string(got), expected)
}

// must returns a value, or ends the scenario with the error in its place.
func must[T any](value T, err error) T {
	if err != nil {
		fail("%v", err)
	}
	return value
}

func succeed(err error) {
	if err != nil {
		fail("%v", err)
	}
}
