//go:build tools

// Package tools pins what is used as a library or a script rather than with "go tool".
package tools

import _ "k8s.io/code-generator"
