// One stream, hash inline: what LocalAI's downloader does (pkg/downloader), written anew for the benchmark.
// Each file in turn: one GET, each block read, written and hashed by one goroutine, a rename at the end.
//
//	onestream LIST    with lines of "sha256 size name url"
package main

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
)

func fetch(promised, name, url string) error {
	answer, err := http.Get(url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, answer.Status)
	}
	file, err := os.Create(name + ".partial")
	if err != nil {
		return err
	}
	defer file.Close()
	digest := sha256.New()
	if _, err := io.Copy(io.MultiWriter(file, digest), answer.Body); err != nil {
		return err
	}
	if found := fmt.Sprintf("%x", digest.Sum(nil)); found != promised {
		return fmt.Errorf("%s: sha256 is %s", name, found)
	}
	return os.Rename(name+".partial", name)
}

func main() {
	list, err := os.Open(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	for lines := bufio.NewScanner(list); lines.Scan(); {
		var promised, size, name, url string
		if _, err := fmt.Sscan(lines.Text(), &promised, &size, &name, &url); err != nil {
			log.Fatal(err)
		}
		if err := fetch(promised, name, url); err != nil {
			log.Fatal(err)
		}
	}
}
