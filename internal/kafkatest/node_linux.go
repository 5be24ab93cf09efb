package kafkatest

import "syscall"

// dieWithParent lets the JVM end with a test process that was killed and could not clean up.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
