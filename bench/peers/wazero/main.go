// Calls one function of a module on wazero: `wazero MODULE FUNCTION INPUT fresh|reused`.
// The program reads numbers of calls, one per line. For each it prints microseconds of processor time and elapsed time
// per call, and the checksum of the last output.
//
// Configured by its documentation for speed: the compiler (wazero's default where available), one compilation of the
// module, anonymous instances, no cancellation by context, no start functions. `fresh` creates and closes an instance
// per call; `reused` keeps one. Processor time includes the garbage collector.
package main

import (
	"bufio"
	"context"
	"fmt"
	"hash/crc32"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

type host struct {
	context  context.Context
	runtime  wazero.Runtime
	compiled wazero.CompiledModule
	function string
	kept     *instance
}

type instance struct {
	module          api.Module
	alloc, function api.Function
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "wazero:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) != 4 {
		return fmt.Errorf("wants MODULE FUNCTION INPUT fresh|reused")
	}
	input, err := os.ReadFile(arguments[2])
	if err != nil {
		return err
	}
	host, err := newHost(arguments[0], arguments[1], arguments[3] == "reused")
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		calls, err := strconv.Atoi(strings.TrimSpace(lines.Text()))
		if err != nil {
			return err
		}
		if err := host.round(calls, input); err != nil {
			return err
		}
	}
	return lines.Err()
}

func newHost(file, function string, reused bool) (*host, error) {
	wasm, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	runtime := wazero.NewRuntime(ctx)
	log := func(context.Context, uint32, uint32, uint32) {}
	host := runtime.NewHostModuleBuilder("inferbus").NewFunctionBuilder().WithFunc(log).Export("log")
	if _, err := host.Instantiate(ctx); err != nil {
		return nil, err
	}
	compiled, err := runtime.CompileModule(ctx, wasm)
	if err != nil {
		return nil, err
	}
	made := &host{context: ctx, runtime: runtime, compiled: compiled, function: function}
	if reused {
		made.kept, err = made.instance()
	}
	return made, err
}

func (h *host) instance() (*instance, error) {
	config := wazero.NewModuleConfig().WithName("").WithStartFunctions()
	module, err := h.runtime.InstantiateModule(h.context, h.compiled, config)
	if err != nil {
		return nil, err
	}
	return &instance{module, module.ExportedFunction("alloc"), module.ExportedFunction(h.function)}, nil
}

func (h *host) round(calls int, input []byte) error {
	var last uint32
	cpu, started := processTime(), time.Now()
	for call := 0; call < calls; call++ {
		checksum, err := h.call(input, call == calls-1)
		if err != nil {
			return err
		}
		last = checksum
	}
	elapsed, spent := time.Since(started), processTime()-cpu
	per := func(spent time.Duration) float64 { return float64(spent.Nanoseconds()) / 1e3 / float64(calls) }
	fmt.Printf("%.4f %.4f %d\n", per(spent), per(elapsed), last)
	return nil
}

// The output is read in place. Only the last one of a round is summed.
func (h *host) call(input []byte, sum bool) (uint32, error) {
	used := h.kept
	if used == nil {
		fresh, err := h.instance()
		if err != nil {
			return 0, err
		}
		defer fresh.module.Close(h.context)
		used = fresh
	}
	room, err := used.alloc.Call(h.context, uint64(len(input)))
	if err != nil {
		return 0, err
	}
	if !used.module.Memory().Write(uint32(room[0]), input) {
		return 0, fmt.Errorf("the input does not fit")
	}
	packed, err := used.function.Call(h.context, room[0], uint64(len(input)))
	if err != nil {
		return 0, err
	}
	output, inside := used.module.Memory().Read(uint32(packed[0]>>32), uint32(packed[0]))
	if !inside || len(output) == 0 {
		return 0, fmt.Errorf("no output")
	}
	if sum {
		return crc32.ChecksumIEEE(output), nil
	}
	return 0, nil
}

func processTime() time.Duration {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
