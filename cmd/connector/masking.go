package main

import (
	"errors"

	"genesys-audit-connector/internal/codec"
	"genesys-audit-connector/internal/mask"
)

// masks are the rules that MASK_FILE names; nil where nothing is masked. They are read at
// the start and hold for what is published from then on.
func (c Config) masks() (*mask.Rules, error) {
	if c.MaskFile == "" {
		return nil, nil
	}
	shipped, err := codec.DefaultMasks()
	if err != nil {
		return nil, err
	}
	return mask.Load(c.MaskFile, shipped)
}

// checkMasks names every fault of the rule file.
func (c *checker) checkMasks() {
	_, err := c.cfg.masks()
	if err == nil {
		return
	}
	if file, ok := errors.AsType[*mask.FileError](err); ok {
		for _, fault := range file.Each() {
			c.reader.add("MASK_FILE", "%v", fault)
		}
		return
	}
	c.reader.add("MASK_FILE", "%v", err)
}
