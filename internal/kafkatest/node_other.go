//go:build !linux

package kafkatest

import "syscall"

// dieWithParent has no equal outside Linux: a killed test process leaves its JVMs running.
func dieWithParent() *syscall.SysProcAttr { return nil }
