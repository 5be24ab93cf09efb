//go:build browser

package export

import (
	"cmp"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// TestReportPrints: the report as PDF, on A4 paper, and as pages show it on a screen. Both
// go to the folder WEB_SCREENSHOTS, if it is set.
func TestReportPrints(t *testing.T) {
	folder := cmp.Or(os.Getenv("WEB_SCREENSHOTS"), t.TempDir())
	s := newSource(400)
	s.erased = []Erased{{"3fa85f64-5717-4562-b3fc-2c963f66afa6", json.RawMessage(`{"who":"dpo@acme.example","when":"2026-03-09T10:00:00Z","why":"Art. 17 GDPR, ticket 4711"}`)}}
	s.api = json.RawMessage(`{"ok":true,"from":"2026-03-01T00:00:00.000Z","to":"2026-03-31T00:00:00.000Z","matched":2000}`)
	path := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(path, []byte(files(t, s.export(t))["report.html"]), 0o600); err != nil {
		t.Fatal(err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.DisableGPU)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	defer cancel()
	ctx, cancel = chromedp.NewContext(ctx)
	defer cancel()
	run(t, ctx, chromedp.EmulateViewport(390, 844))
	run(t, ctx, chromedp.Navigate("file://"+path))
	if width := run(t, ctx, chromedp.Evaluate[int64]("document.documentElement.scrollWidth")); width > 390 {
		t.Errorf("the report is %d wide on a telephone", width)
	}
	run(t, ctx, chromedp.EmulateViewport(1000, 1400))
	save(t, folder, "report.png", run(t, ctx, chromedp.FullScreenshot(100)))
	// 210 mm less its margins, as on paper.
	if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: "print"}); err != nil {
		t.Fatal(err)
	}
	run(t, ctx, chromedp.EmulateViewport(680, 1000))
	if width := run(t, ctx, chromedp.Evaluate[int64]("document.documentElement.scrollWidth")); width > 680 {
		t.Errorf("the report is %d wide on paper", width)
	}
	save(t, folder, "report-print.png", run(t, ctx, chromedp.FullScreenshot(100)))
	yes := true
	printed, err := chromedp.Call(ctx, page.PrintToPDF, page.PrintToPDFParams{PreferCSSPageSize: &yes, PrintBackground: &yes})
	if err != nil {
		t.Fatal(err)
	}
	save(t, folder, "report.pdf", printed.Data)
	// A4 is 595 by 842 points.
	boxes := regexp.MustCompile(`/MediaBox \[0 0 (59[45][.\d]*) (84[12][.\d]*)\]`).FindAll(printed.Data, -1)
	if len(boxes) < 3 || len(boxes) > 20 {
		t.Errorf("%d pages of A4 in a PDF of %d bytes", len(boxes), len(printed.Data))
	}
}

func save(t *testing.T, folder, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(folder, name), content, 0o644); err != nil {
		t.Error(err)
	}
}

func run[T any](t *testing.T, ctx context.Context, action chromedp.Action[T]) T {
	t.Helper()
	value, err := chromedp.Run(ctx, action)
	if err != nil {
		t.Fatal(err)
	}
	return value
}
