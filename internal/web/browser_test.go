//go:build browser

package web

import (
	"cmp"
	"context"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"go.uber.org/zap/zaptest"
)

// The page in a real browser. Screenshots go to the folder WEB_SCREENSHOTS, if it is set.

// browser starts headless Chromium with a profile of its own.
func browser(t *testing.T) context.Context {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start Chromium: %v", err)
	}
	return ctx
}

// must is the value of an action that has to succeed.
func must[T any](t *testing.T, ctx context.Context, action chromedp.Action[T]) T {
	t.Helper()
	value, err := chromedp.Run(ctx, action)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// call sends a command of the protocol that has to succeed.
func call[P, R any](t *testing.T, ctx context.Context, cmd cdp.Command[P, R], params P) {
	t.Helper()
	if _, err := chromedp.Call(ctx, cmd, params); err != nil {
		t.Fatal(err)
	}
}

// complaints collects what the browser's console says, and every request it sends.
type complaints struct {
	mu       sync.Mutex // protects what follows
	texts    []string
	requests []string
}

func watch(t *testing.T, ctx context.Context) *complaints {
	t.Helper()
	c := new(complaints)
	err := chromedp.Listen(ctx, func(ev any) {
		c.mu.Lock()
		defer c.mu.Unlock()
		switch ev := ev.(type) {
		case *log.EventEntryAdded:
			c.texts = append(c.texts, ev.Entry.Text)
		case *runtime.EventExceptionThrown:
			c.texts = append(c.texts, ev.ExceptionDetails.Text)
		case *network.EventRequestWillBeSent:
			c.requests = append(c.requests, ev.Request.URL)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	call(t, ctx, log.Enable, cdp.Empty{})
	call(t, ctx, network.Enable, network.EnableParams{})
	return c
}

func (c *complaints) all() (texts, requests []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.texts, c.requests
}

type screen struct {
	name, scheme  string
	width, height int64
}

var screens = []screen{
	{"light", "light", 1280, 900},
	{"dark", "dark", 1280, 900},
	{"phone", "light", 390, 844},
	{"phone-dark", "dark", 390, 844},
}

func (s screen) set(t *testing.T, tab context.Context) {
	t.Helper()
	must(t, tab, chromedp.EmulateViewport(s.width, s.height))
	call(t, tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: s.scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}})
}

// TestScreens shows every state on every screen: the browser has nothing to
// complain of, loads nothing but the page, and nothing is wider than the screen.
func TestScreens(t *testing.T) {
	folder := cmp.Or(os.Getenv("WEB_SCREENSHOTS"), t.TempDir())
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	ctx := browser(t)
	for name, state := range fixtures {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(New(fixed(state()), zaptest.NewLogger(t)).Handler())
			defer server.Close()
			for _, screen := range screens {
				t.Run(screen.name, func(t *testing.T) {
					look(t, ctx, server.URL+"/", screen, filepath.Join(folder, name+"-"+screen.name+".png"))
				})
			}
		})
	}
}

// TestOverviewScreens shows the overview, and the page of one of many.
func TestOverviewScreens(t *testing.T) {
	folder := cmp.Or(os.Getenv("WEB_SCREENSHOTS"), t.TempDir())
	ctx := browser(t)
	for name, fleet := range fleets {
		server := httptest.NewServer(fleetHandler(t, fleet()))
		defer server.Close()
		for _, screen := range screens {
			t.Run(name+"/"+screen.name, func(t *testing.T) {
				look(t, ctx, server.URL+"/", screen, filepath.Join(folder, "fleet-"+name+"-"+screen.name+".png"))
			})
		}
		if name == "mixed" {
			look(t, ctx, server.URL+"/org/org-00001", screens[0], filepath.Join(folder, "fleet-one.png"))
		}
	}
}

// TestOverviewFilterWithoutScript types into the box and sends it, in a browser that runs no script.
func TestOverviewFilterWithoutScript(t *testing.T) {
	server := httptest.NewServer(fleetHandler(t, mixed()))
	defer server.Close()
	ctx := browser(t)
	said := watch(t, ctx)
	call(t, ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	must(t, ctx, chromedp.Navigate(server.URL+"/?state=elsewhere"))
	must(t, ctx, chromedp.SendKeys("#q", "00009\r"))
	deadline := time.Now().Add(20 * time.Second)
	for {
		page := must(t, ctx, chromedp.OuterHTML("html"))
		if got := names(page); len(got) == 1 && got[0] == "org-00009" {
			break
		}
		if time.Now().After(deadline) {
			texts, requests := said.all()
			t.Fatalf("the filter shows %v; the browser says %q, asked for %q", names(page), texts, requests)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if _, requests := said.all(); !slices.Contains(requests, server.URL+"/?q=00009&state=elsewhere") {
		t.Errorf("it asked for %q", requests)
	}
}

func look(t *testing.T, ctx context.Context, url string, screen screen, file string) {
	tab, cancel := chromedp.NewContext(ctx)
	defer cancel()
	said := watch(t, tab)
	screen.set(t, tab)
	must(t, tab, chromedp.Navigate(url))
	if width := must(t, tab, chromedp.Evaluate[int64]("document.documentElement.scrollWidth")); width > screen.width {
		t.Errorf("the page is %d wide on a screen of %d", width, screen.width)
	}
	if title := must(t, tab, chromedp.Title()); strings.Contains(title, "owned") {
		t.Error("a script of an event ran")
	}
	if err := os.WriteFile(file, must(t, tab, chromedp.FullScreenshot(100)), 0o644); err != nil {
		t.Error(err)
	}
	texts, requests := said.all()
	if len(texts) > 0 {
		t.Errorf("the browser complains: %q", texts)
	}
	if len(requests) == 0 {
		t.Error("no request was seen, not even that for the page")
	}
	for _, r := range requests {
		if r != url && !strings.HasPrefix(r, "data:image/svg+xml,") {
			t.Errorf("the page loads %s", r)
		}
	}
}

// TestPolicy shows that TestScreens would see markup that an event smuggles in:
// put into the page by force, it is stopped by the policy, and that is seen.
func TestPolicy(t *testing.T) {
	server := httptest.NewServer(New(fixed(healthy()), zaptest.NewLogger(t)).Handler())
	defer server.Close()
	ctx := browser(t)
	said := watch(t, ctx)
	must(t, ctx, chromedp.Navigate(server.URL+"/"))
	must(t, ctx, chromedp.Evaluate[chromedp.Void](`document.querySelector("main").insertAdjacentHTML("beforeend",
		"<img src='https://outside.invalid/x' onerror=\"document.title='owned'\"><p style='color:red'>")`))
	deadline := time.Now().Add(10 * time.Second)
	for {
		if texts, _ := said.all(); len(texts) >= 2 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the browser let an image and a style in")
		}
		time.Sleep(20 * time.Millisecond)
	}
	if title := must(t, ctx, chromedp.Title()); strings.Contains(title, "owned") {
		t.Error("an event handler ran")
	}
}

// changing is a source that a test can change.
type changing struct {
	mu sync.Mutex
	s  Snapshot
}

func (c *changing) Snapshot() Snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.s
}

func (c *changing) set(s Snapshot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.s = s
}

// TestRefresh looks at a page that is left open: it follows the connector, and
// it says so when the connector is gone.
func TestRefresh(t *testing.T) {
	source := &changing{s: healthy()}
	server := httptest.NewServer(New(source, zaptest.NewLogger(t)).Handler())
	defer server.Close()
	ctx := browser(t)
	said := watch(t, ctx)
	until := func(js string) {
		t.Helper()
		must(t, ctx, chromedp.Poll[chromedp.Void](js, chromedp.WithPollingInterval(100*time.Millisecond)))
	}
	must(t, ctx, chromedp.Navigate(server.URL+"/"))
	until(`document.title.startsWith("Everything is there")`)
	source.set(troubled())
	until(`document.title.startsWith("The API refuses")`)
	until(`document.querySelector("#troubles h3").textContent === "token"`)
	until(`document.body.className === "bad"`)
	if texts, _ := said.all(); len(texts) > 0 {
		t.Errorf("the browser complains: %q", texts)
	}
	server.CloseClientConnections()
	server.Close()
	until(`!document.getElementById("stale").hidden && document.getElementById("stale").textContent.includes("14:32:10")`)
}

// TestWithoutScript shows everything to a browser that runs no script.
func TestWithoutScript(t *testing.T) {
	server := httptest.NewServer(New(fixed(healthy()), zaptest.NewLogger(t)).Handler())
	defer server.Close()
	ctx := browser(t)
	call(t, ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	must(t, ctx, chromedp.Navigate(server.URL+"/"))
	page := must(t, ctx, chromedp.OuterHTML("html"))
	for _, want := range []string{"Everything is there", "Billing EMEA"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	// Where scripts run, a browser takes what is in noscript for text.
	if refresh := must(t, ctx, chromedp.AttributeValue("meta[http-equiv=refresh]", "content")); refresh.Value != "10" {
		t.Errorf("the page does not refresh itself: %+v", refresh)
	}
}
