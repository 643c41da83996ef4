//! Every bound of the sandbox, with the required relations between them.
//!
//! The first group contains the defaults of [`Bounds`](crate::Bounds). An entry may raise them up to the second group,
//! the defaults of [`Ceilings`](crate::Ceilings). All other values are fixed.

use std::time::Duration;

/// Linear memory of one instance.
pub const MEMORY: usize = 64 << 20;
/// Time of one call.
pub const TIME: Duration = Duration::from_millis(50);
/// Bytes of one output.
pub const OUTPUT: usize = 4 << 20;
/// Emitted messages of one call, and their total bytes with topics.
pub const EMITS: u32 = 16;
pub const EMIT_BYTES: usize = 1 << 20;
/// Log lines of one call, and their total bytes.
pub const LOG_LINES: u32 = 32;
pub const LOG_BYTES: usize = 8 << 10;

/// The default ceilings for the limits of entries. The operator can change them.
pub const MEMORY_CEILING: usize = 256 << 20;
pub const TIME_CEILING: Duration = Duration::from_secs(10);
pub const OUTPUT_CEILING: usize = 64 << 20;
pub const EMITS_CEILING: u32 = 1024;
pub const EMIT_BYTES_CEILING: usize = 16 << 20;
pub const LOG_LINES_CEILING: u32 = 1024;
pub const LOG_BYTES_CEILING: usize = 1 << 20;

/// Live instances of one process: one per lane, stage and bundle, and one per load.
pub const INSTANCES: u32 = 4096;
/// The operator's maximum for live instances.
pub const INSTANCES_CEILING: u32 = 8192;

/// The interval of clock checks in running plugins. Time limits are exact to one or two ticks. A tick of 1 ms used 6 %
/// of a busy worker's processor time.
pub const TICK: Duration = Duration::from_millis(5);

/// The stack of WebAssembly code, as a part of the calling thread's stack.
pub const STACK: usize = 512 << 10;
/// The required stack of a calling thread. This is Rust's default for spawned threads.
pub const THREAD_STACK: usize = 2 << 20;

/// Bytes of a module, its functions, and bytes of one function. They bound the work of the compiler.
pub const MODULE_BYTES: usize = 32 << 20;
pub const FUNCTIONS: u32 = 50_000;
pub const FUNCTION_BYTES: usize = 1 << 20;

/// The compiler process: its address space, its processor time, its elapsed time even on a busy machine, and the bytes
/// of its machine code.
pub const COMPILE_MEMORY: u64 = 2 << 30;
pub const COMPILE_PROCESSOR_TIME: Duration = Duration::from_secs(60);
pub const COMPILE_TIME: Duration = Duration::from_secs(110);
pub const COMPILED_BYTES: usize = 256 << 20;
/// The stack of its compiling thread.
pub const COMPILE_STACK: usize = 16 << 20;
/// Its priority below the lanes. On busy processors it still gets a tenth of one. With a niceness of 19 it gets a
/// seventieth, and a compilation of 0.1 s took 16 s.
pub const COMPILE_NICENESS: i32 = 10;
/// Bytes per read from its output, and kept bytes of its error output.
pub const COMPILER_READ: usize = 64 << 10;
pub const COMPILER_WORDS: usize = 4 << 10;

/// Bytes and files of compiled code on disk.
pub const CACHE_BYTES: u64 = 1 << 30;
pub const CACHE_FILES: usize = 4096;
/// The interval for updates of a cached file's time of last use. Eviction uses this time.
pub const CACHE_TOUCH: Duration = Duration::from_secs(24 * 60 * 60);

/// Tables of one module, and elements of one table.
pub const TABLES: u32 = 4;
pub const TABLE_ELEMENTS: u32 = 20_000;

/// Bytes of linear memory per pooled slot, reset by copying and not by new pages from the kernel.
pub const KEEP_RESIDENT: usize = 256 << 10;
/// Mutable globals to restore for every message. Plugins with more globals get fresh instances.
pub const REWIND_GLOBALS: usize = 64;
/// Bytes of memory per comparison and copy of a rewind.
pub const REWIND_CHUNK: usize = 4 << 10;

/// Trips are stops of a plugin at the first write to a page. After this number of trips all memory of the instance is
/// opened. The opened block doubles after each [`WATCH_TRIPS_PER_SIZE`] trips.
pub const WATCH_TRIPS: u32 = 40;
pub const WATCH_TRIPS_PER_SIZE: u32 = 4;
/// Ranges of opened pages in a new instance.
pub const WATCH_RANGES: usize = 16;
/// Additional mappings in all memories of one process. Linux allows 65,530 mappings per process by default. Without
/// free mappings a process cannot even allocate.
pub const WATCH_CUTS: usize = 20_000;
/// A watch over more than [`WATCH_SMALL`] bytes restarts after [`WATCH_MESSAGES`] messages. A single message with many
/// writes thus does not slow down all later ones.
pub const WATCH_SMALL: usize = 256 << 10;
pub const WATCH_MESSAGES: u32 = 4096;

/// Address space of each memory. It covers all 32-bit addresses, so compiled code does not need bounds checks.
pub const RESERVATION: u64 = 4 << 30;
/// Inaccessible address space after each memory.
pub const GUARD: u64 = 2 << 20;

/// Bytes of quoted plugin text in a fault: an error message, a topic, a function name.
pub const QUOTED_BYTES: usize = 1 << 10;
/// Bytes of an emit's topic. This leaves room for the prefix of the route.
pub const TOPIC_BYTES: usize = 255;
/// Function names in the fault of a trap.
pub const TRAP_FRAMES: usize = 4;

const _: () = {
    assert!(MEMORY <= MEMORY_CEILING && OUTPUT <= OUTPUT_CEILING);
    assert!(TIME.as_millis() <= TIME_CEILING.as_millis());
    assert!(EMITS <= EMITS_CEILING && EMIT_BYTES <= EMIT_BYTES_CEILING);
    assert!(LOG_LINES <= LOG_LINES_CEILING && LOG_BYTES <= LOG_BYTES_CEILING);
    assert!(OUTPUT_CEILING <= MEMORY_CEILING, "an output is a part of the guest's memory");
    assert!(TICK.as_nanos() > 0 && TICK.as_nanos() * 10 <= TIME.as_nanos(), "a time limit is many ticks");
    assert!(2 * STACK <= THREAD_STACK, "host functions need stack below a plugin's frames");
    assert!(FUNCTION_BYTES <= MODULE_BYTES);
    assert!(65_536_usize.is_multiple_of(REWIND_CHUNK), "a memory is whole chunks");
    assert!(
        INSTANCES <= INSTANCES_CEILING && WATCH_CUTS + 5 * INSTANCES_CEILING as usize <= 61_000,
        "cuts, and five mappings per memory"
    );
    assert!(MEMORY_CEILING as u64 <= RESERVATION);
    // The address space has 47 bits. The worker also needs some for other purposes.
    assert!(INSTANCES_CEILING as u64 * (RESERVATION + GUARD) <= 1 << 46);
    assert!(4 * MODULE_BYTES <= COMPILED_BYTES, "machine code is larger than its module");
    assert!(4 * COMPILED_BYTES as u64 <= COMPILE_MEMORY, "the compiler needs several copies of the code");
    assert!(COMPILE_PROCESSOR_TIME.as_millis() < COMPILE_TIME.as_millis(), "on an idle machine the module is at fault");
    assert!(COMPILED_BYTES as u64 <= CACHE_BYTES, "every compiled module can be cached");
};
