//! Every bound of the sandbox, in one place, with the relations that must hold between them.
//!
//! The first group holds the defaults of [`Bounds`](crate::Bounds), which an entry may override up to the
//! second group, the defaults of [`Ceilings`](crate::Ceilings). The rest is fixed.

use std::time::Duration;

/// Linear memory of one instance.
pub const MEMORY: usize = 64 << 20;
/// Time of one call.
pub const TIME: Duration = Duration::from_millis(50);
/// Bytes of one output.
pub const OUTPUT: usize = 4 << 20;
/// Extra messages that one call may emit, and their bytes taken together, topics included.
pub const EMITS: u32 = 16;
pub const EMIT_BYTES: usize = 1 << 20;
/// Log lines that one call may write, and their bytes taken together.
pub const LOG_LINES: u32 = 32;
pub const LOG_BYTES: usize = 8 << 10;

/// What an entry may ask for at most, unless the worker is told otherwise.
pub const MEMORY_CEILING: usize = 256 << 20;
pub const TIME_CEILING: Duration = Duration::from_secs(10);
pub const OUTPUT_CEILING: usize = 64 << 20;
pub const EMITS_CEILING: u32 = 1024;
pub const EMIT_BYTES_CEILING: usize = 16 << 20;
pub const LOG_LINES_CEILING: u32 = 1024;
pub const LOG_BYTES_CEILING: usize = 1 << 20;

/// Instances that may be alive at once in one process: one per lane, stage and bundle, and one per load.
pub const INSTANCES: u32 = 4096;
/// The most that an operator may ask for.
pub const INSTANCES_CEILING: u32 = 8192;

/// How often running plugins look at the clock. Time limits are kept to within one or two of these. Waking up for it
/// every millisecond was 6 % of a busy worker's processor time.
pub const TICK: Duration = Duration::from_millis(5);

/// WebAssembly's own stack, which lies on the calling thread's.
pub const STACK: usize = 512 << 10;
/// The stack that a thread needs to call a plugin; Rust's default for a spawned thread.
pub const THREAD_STACK: usize = 2 << 20;

/// Bytes, functions and bytes of one function of a module: what the compiler can be asked to work on.
pub const MODULE_BYTES: usize = 32 << 20;
pub const FUNCTIONS: u32 = 50_000;
pub const FUNCTION_BYTES: usize = 1 << 20;

/// Address space of the compiler process, its processor time and, however busy the machine is, its time from start to end;
/// the machine code that it may make.
pub const COMPILE_MEMORY: u64 = 2 << 30;
pub const COMPILE_PROCESSOR_TIME: Duration = Duration::from_secs(60);
pub const COMPILE_TIME: Duration = Duration::from_secs(110);
pub const COMPILED_BYTES: usize = 256 << 20;
/// The stack on which it compiles.
pub const COMPILE_STACK: usize = 16 << 20;
/// How far it steps back behind the lanes: on processors that they keep busy it still gets a tenth of one. With 19 it gets a
/// seventieth, and a plugin that compiles in 0.1 s took 16 s.
pub const COMPILE_NICENESS: i32 = 10;
/// Bytes that are read from it at a time, and bytes that are kept of its error output.
pub const COMPILER_READ: usize = 64 << 10;
pub const COMPILER_WORDS: usize = 4 << 10;

/// Bytes and files of compiled code that are kept on disk.
pub const CACHE_BYTES: u64 = 1 << 30;
pub const CACHE_FILES: usize = 4096;
/// How often the use of a cached file is noted, for the order in which they are evicted.
pub const CACHE_TOUCH: Duration = Duration::from_secs(24 * 60 * 60);

/// Tables of one module and elements of one table.
pub const TABLES: u32 = 4;
pub const TABLE_ELEMENTS: u32 = 20_000;

/// Bytes of linear memory, per pooled slot, that are put back by copying rather than by asking the kernel for
/// new pages.
pub const KEEP_RESIDENT: usize = 256 << 10;
/// Mutable globals that are put back for every message. A plugin with more gets fresh instances.
pub const REWIND_GLOBALS: usize = 64;
/// Bytes of memory that are put back at a time.
pub const REWIND_CHUNK: usize = 4 << 10;

/// How often a plugin is stopped because it writes to a page for the first time, before all of its instance's memory is
/// opened, and after how many stops twice as much is opened at a time.
pub const WATCH_TRIPS: u32 = 40;
pub const WATCH_TRIPS_PER_SIZE: u32 = 4;
/// Pieces in which a new instance's memory is opened.
pub const WATCH_RANGES: usize = 16;
/// Times that the memories of one process may be cut into one more mapping. Linux allows 65,530 mappings in all unless it
/// is told otherwise, and a process that has used them up cannot even allocate.
pub const WATCH_CUTS: usize = 20_000;
/// A lane's watch over more bytes than are put back in no time begins anew after so many messages, so that one message that
/// wrote everywhere does not cost every later one.
pub const WATCH_SMALL: usize = 256 << 10;
pub const WATCH_MESSAGES: u32 = 4096;

/// Address space of each memory: all that 32 bits can name, so that compiled code needs no check before it reads or writes.
pub const RESERVATION: u64 = 4 << 30;
/// Address space after it that faults when touched.
pub const GUARD: u64 = 2 << 20;

/// Bytes of a text that a plugin wrote and that a fault quotes: an error message, a topic, a function's name.
pub const QUOTED_BYTES: usize = 1 << 10;
/// Bytes of an emit's topic, so that the route's prefix still fits in front of it.
pub const TOPIC_BYTES: usize = 255;
/// Functions that are named when a plugin traps.
pub const TRAP_FRAMES: usize = 4;

const _: () = {
    assert!(MEMORY <= MEMORY_CEILING && OUTPUT <= OUTPUT_CEILING);
    assert!(TIME.as_millis() <= TIME_CEILING.as_millis());
    assert!(EMITS <= EMITS_CEILING && EMIT_BYTES <= EMIT_BYTES_CEILING);
    assert!(LOG_LINES <= LOG_LINES_CEILING && LOG_BYTES <= LOG_BYTES_CEILING);
    assert!(OUTPUT_CEILING <= MEMORY_CEILING, "an output lies in the guest's memory");
    assert!(TICK.as_nanos() > 0 && TICK.as_nanos() * 10 <= TIME.as_nanos(), "a time limit is many ticks");
    assert!(2 * STACK <= THREAD_STACK, "host functions need room beneath a plugin's frames");
    assert!(FUNCTION_BYTES <= MODULE_BYTES);
    assert!(65_536_usize.is_multiple_of(REWIND_CHUNK), "a memory is whole chunks");
    assert!(
        INSTANCES <= INSTANCES_CEILING && WATCH_CUTS + 5 * INSTANCES_CEILING as usize <= 61_000,
        "cuts, and a memory's data, its image, what is around them, and its guard"
    );
    assert!(MEMORY_CEILING as u64 <= RESERVATION);
    // Processes have 47 bits of addresses where the worker runs, and it has other uses for them.
    assert!(INSTANCES_CEILING as u64 * (RESERVATION + GUARD) <= 1 << 46);
    assert!(4 * MODULE_BYTES <= COMPILED_BYTES, "machine code is larger than what it is made from");
    assert!(4 * COMPILED_BYTES as u64 <= COMPILE_MEMORY, "the compiler holds code more than once");
    assert!(COMPILE_PROCESSOR_TIME.as_millis() < COMPILE_TIME.as_millis(), "on an idle machine the module is at fault");
    assert!(COMPILED_BYTES as u64 <= CACHE_BYTES, "whatever was compiled can be cached");
};
