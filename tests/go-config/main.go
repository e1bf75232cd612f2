// Program goconfig lets Fabric's own library for channel configurations read what Qist writes, and
// write what Qist reads.
//
//	goconfig read FILE...       decode configuration blocks, print what they hold as JSON
//	goconfig update REQUEST     compute, sign and write an update; the request is a JSON file
//	goconfig compare REQUEST    compare an update with the one that the library computes
//
// It ends with 1 and the library's words where the library refuses.
package main

import (
	"encoding/json"
	"fmt"
	"os"
)

func main() {
	if len(os.Args) < 3 {
		fail(fmt.Errorf("usage: goconfig read FILE... | update REQUEST | compare REQUEST"))
	}
	var answer any
	var err error
	switch command, files := os.Args[1], os.Args[2:]; command {
	case "read":
		answer, err = readAll(files)
	case "update":
		answer, err = update(files[0])
	case "compare":
		answer, err = compare(files[0])
	default:
		err = fmt.Errorf("%s is no command", command)
	}
	if err != nil {
		fail(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(answer); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
