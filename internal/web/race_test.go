//go:build race

package web

func init() { slow = 20 }
