// One stream, hashed as it is written: what LocalAI's downloader does, without its retries.
//
//	onestream FOLDER NAME URL SHA256 [NAME URL SHA256 ...]
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
)

func fetch(path, url, promised string) error {
	answer, err := http.Get(url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	file, err := os.Create(path + ".partial")
	if err != nil {
		return err
	}
	digest := sha256.New()
	if _, err := io.Copy(io.MultiWriter(file, digest), answer.Body); err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	if found := hex.EncodeToString(digest.Sum(nil)); found != promised {
		return fmt.Errorf("%s: sha256 is %s", path, found)
	}
	return os.Rename(path+".partial", path)
}

func main() {
	folder, rest := os.Args[1], os.Args[2:]
	for ; len(rest) >= 3; rest = rest[3:] {
		if err := fetch(filepath.Join(folder, rest[0]), rest[1], rest[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}
