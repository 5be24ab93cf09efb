package consumer

import (
	"os"
	"strings"
	"testing"
)

// TestDocumentedCode: the programs in docs/consuming.md are those that TestClients runs.
func TestDocumentedCode(t *testing.T) {
	page, err := os.ReadFile("../../docs/consuming.md")
	if err != nil {
		t.Fatal(err)
	}
	for file, language := range map[string]string{"clients/Consume.java": "java", "clients/consume.py": "python", "clients/main.go": "go"} {
		code, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(page), "```"+language+"\n"+string(code)+"```\n") {
			t.Errorf("docs/consuming.md does not have %s as it is", file)
		}
	}
}
