//go:build tools

// Package tools names the commands that localkube builds from this module.
package tools

import (
	_ "github.com/coredns/coredns"
)
