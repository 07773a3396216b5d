//go:build tools

// Package ollama pins Ollama, which hack/backends builds as a test counterpart of the tests.
package ollama

import _ "github.com/ollama/ollama"
