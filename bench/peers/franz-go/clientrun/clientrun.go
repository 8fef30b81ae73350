// Package clientrun is bench/src/client_run.rs for a Go client: the same command line, the same bytes, the same checksum,
// the same result.
package clientrun

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/bits"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Arguments of both programs; a consumer ignores what only producers need.
type Arguments struct {
	Bootstrap, Topic string
	Records          uint64
	ValueBytes       int
	Properties       map[string]string
	JSON             bool
}

// Parse reads the command line; what it does not know ends the program.
func Parse() Arguments {
	arguments := Arguments{Records: 5_000_000, ValueBytes: 290, Properties: map[string]string{}}
	rest := os.Args[1:]
	next := func() string {
		if len(rest) == 0 {
			Fail("a value is missing")
		}
		value := rest[0]
		rest = rest[1:]
		return value
	}
	for len(rest) > 0 {
		switch name := next(); name {
		case "--bootstrap":
			arguments.Bootstrap = next()
		case "--topic":
			arguments.Topic = next()
		case "--records":
			arguments.Records = uint64(number(next()))
		case "--value-bytes":
			arguments.ValueBytes = number(next())
		case "--json":
			arguments.JSON = true
		case "-X", "--property":
			key, value, found := strings.Cut(next(), "=")
			if !found {
				Fail(key + " is not name=value")
			}
			arguments.Properties[key] = value
		default:
			Fail("unknown argument " + name)
		}
	}
	if arguments.Bootstrap == "" || arguments.Topic == "" {
		Fail("--bootstrap and --topic are needed")
	}
	return arguments
}

// Take removes a property and gives its value; whatever is not taken is refused by Done.
func (a *Arguments) Take(name string) (string, bool) {
	value, found := a.Properties[name]
	delete(a.Properties, name)
	return value, found
}

// TakeNumber is Take for numbers.
func (a *Arguments) TakeNumber(name string, otherwise int) int {
	value, found := a.Take(name)
	if !found {
		return otherwise
	}
	return number(value)
}

// Done refuses properties that nobody took: a setting that is silently ignored would be unfair.
func (a *Arguments) Done() {
	for name := range a.Properties {
		Fail("unknown property " + name)
	}
}

func number(text string) int {
	value, err := strconv.Atoi(text)
	Check(err)
	return value
}

// Check ends the program on an error.
func Check(err error) {
	if err != nil {
		Fail(err.Error())
	}
}

// Fail ends the program.
func Fail(reason string) {
	fmt.Fprintln(os.Stderr, reason)
	os.Exit(1)
}

// Checksum of values, in any order.
type Checksum struct{ Records, ValueBytes, Total uint64 }

// Add reads all of a value.
func (c *Checksum) Add(value []byte) { c.AddSum(len(value), ValueSum(value)) }

// AddSum adds a value whose sum is known.
func (c *Checksum) AddSum(valueBytes int, sum uint64) {
	c.Records++
	c.ValueBytes += uint64(valueBytes)
	c.Total += sum
}

// ValueSum adds the words at even and at odd places.
func ValueSum(value []byte) uint64 {
	even, odd := uint64(0), uint64(len(value))
	for len(value) >= 16 {
		even += binary.LittleEndian.Uint64(value)
		odd += binary.LittleEndian.Uint64(value[8:])
		value = value[16:]
	}
	word := &even
	if len(value) >= 8 {
		even += binary.LittleEndian.Uint64(value)
		value = value[8:]
		word = &odd
	}
	var last [8]byte
	copy(last[:], value)
	*word += binary.LittleEndian.Uint64(last[:])
	return bits.RotateLeft64(even*0x9e37_79b9_7f4a_7c15, 29) ^ odd*0xc2b2_ae3d_27d4_eb4f
}

type xorShift uint64

func (x *xorShift) next() uint64 {
	*x ^= *x << 13
	*x ^= *x >> 7
	*x ^= *x << 17
	return uint64(*x)
}

func (x *xorShift) below(limit int) int { return int(x.next() % uint64(limit)) }

func (x *xorShift) uuid() string {
	high, low := x.next(), x.next()
	return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", high>>32, high>>16&0xffff, high&0xffff, low>>48, low&0xffff_ffff_ffff)
}

// AdEvents is the ring of events that every client sends.
func AdEvents(valueBytes int) [][]byte {
	random := xorShift(0x9e37_79b9_7f4a_7c15)
	pages, ads := make([]string, 1000), make([]string, 1000)
	for i := range pages {
		pages[i] = random.uuid()
	}
	for i := range ads {
		ads[i] = random.uuid()
	}
	events := make([][]byte, 8192)
	for i := range events {
		eventTime := 1_700_000_000_000 + random.below(10_000_000)
		event := fmt.Sprintf(`{"event_time":"%d","user_id":"%s"`, eventTime, random.uuid())
		if valueBytes >= fullEventBytes {
			eventType := []string{"view", "click", "purchase"}[random.below(3)]
			adType := []string{"banner", "modal", "sponsored-search", "mail", "mobile"}[random.below(5)]
			page, ad := pages[random.below(1000)], ads[random.below(1000)]
			a, b, c := random.below(256), random.below(256), random.below(256)
			event += fmt.Sprintf(`,"event_type":"%s","page_id":"%s","ad_id":"%s","ad_type":"%s","ip_address":"10.%d.%d.%d"`,
				eventType, page, ad, adType, a, b, c)
		}
		room := max(0, valueBytes-len(event)-len(`,"note":""}`))
		note := ""
		for len(note) < room {
			note += words[random.below(len(words))] + " "
		}
		events[i] = []byte(event + `,"note":"` + note[:room] + `"}`)
	}
	return events
}

// Stopwatch runs from the moment before the first record.
type Stopwatch struct {
	started   time.Time
	cpuBefore float64
}

// Start starts it; the client is connected.
func Start() Stopwatch { return Stopwatch{started: time.Now(), cpuBefore: cpuSeconds()} }

// Stop prints the result, once the last record is through.
func (s Stopwatch) Stop(arguments Arguments, values Checksum) {
	seconds, cpu := time.Since(s.started).Seconds(), cpuSeconds()
	result := map[string]any{
		"client":              "franz-go " + version(),
		"records":             values.Records,
		"value_bytes":         values.ValueBytes,
		"checksum":            values.Total,
		"seconds":             seconds,
		"cpu_seconds":         cpu - s.cpuBefore,
		"process_cpu_seconds": cpu,
		"peak_resident_bytes": peakResidentBytes(),
	}
	if arguments.JSON {
		Check(json.NewEncoder(os.Stdout).Encode(result))
		return
	}
	millions := float64(values.Records) / 1e6
	fmt.Printf("%s: %d records in %.2f s: %.2f M/s, %.3f CPU-s per M records, checksum %016x\n",
		result["client"], values.Records, seconds, millions/seconds, (cpu-s.cpuBefore)/millions, values.Total)
}

func cpuSeconds() float64 {
	var usage syscall.Rusage
	Check(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	seconds := func(time syscall.Timeval) float64 { return float64(time.Sec) + float64(time.Usec)/1e6 }
	return seconds(usage.Utime) + seconds(usage.Stime)
}

func peakResidentBytes() uint64 {
	status, err := os.ReadFile("/proc/self/status")
	Check(err)
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kilobytes, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	return uint64(number(kilobytes)) * 1024
}

func version() string {
	info, _ := debug.ReadBuildInfo()
	for _, module := range info.Deps {
		if module.Path == "github.com/twmb/franz-go" {
			return strings.TrimPrefix(module.Version, "v")
		}
	}
	return "unknown"
}

const fullEventBytes = 275

var words = []string{
	"about", "after", "again", "autumn", "before", "bicycle", "bright", "carry", "city", "corner", "delivery", "every",
	"family", "garden", "holiday", "instead", "journey", "kitchen", "letter", "market", "never", "offer", "people",
	"quiet", "river", "season", "thousand", "under", "visit", "window", "yellow", "zebra",
}
