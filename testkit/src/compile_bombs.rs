//! Modules within every bound of inspection, and far more expensive to compile than their size suggests.

use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, ExportKind, ExportSection, Function, FunctionSection, GlobalSection, GlobalType,
    MemorySection, MemoryType, Module, TypeSection, ValType,
};

/// A valid echo plugin with further functions `(i32)`; it never calls them.
pub fn module(functions: impl IntoIterator<Item = Function>) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([ValType::I32], [ValType::I32]);
    types.ty().function([ValType::I32; 2], [ValType::I64]);
    types.ty().function([ValType::I32], []);
    let mut declared = FunctionSection::new();
    declared.function(0).function(1);
    let mut code = CodeSection::new();
    let mut alloc = Function::new([]);
    alloc.instructions().i32_const(1024).end();
    code.function(&alloc);
    let mut transform = Function::new([]);
    let mut ops = transform.instructions();
    ops.local_get(0).i64_extend_i32_u().i64_const(32).i64_shl().local_get(1).i64_extend_i32_u().i64_or().end();
    code.function(&transform);
    for function in functions {
        declared.function(2);
        code.function(&function);
    }
    let mut memories = MemorySection::new();
    memories.memory(MemoryType { minimum: 1, maximum: None, memory64: false, shared: false, page_size_log2: None });
    let mut globals = GlobalSection::new();
    let ty = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
    globals.global(ty, &ConstExpr::i32_const(0));
    let mut exports = ExportSection::new();
    exports.export("memory", ExportKind::Memory, 0);
    exports.export("alloc", ExportKind::Func, 0);
    exports.export("transform", ExportKind::Func, 1);
    let mut module = Module::new();
    module.section(&types).section(&declared).section(&memories).section(&globals).section(&exports).section(&code);
    module.finish()
}

/// Jumps from each block to the end of every block, with `locals` locals alive in all of them. For each block and local
/// the compiler inspects every jump.
pub fn jumps(blocks: u32, locals: u32) -> Function {
    let mut function = Function::new([(locals, ValType::I32)]);
    let mut ops = function.instructions();
    for _ in 0..blocks {
        ops.block(BlockType::Empty);
    }
    let targets: Vec<u32> = (0..blocks).collect();
    ops.local_get(0).br_table(targets.iter().copied(), 0);
    for block in 0..blocks {
        ops.end();
        for local in 1..=locals.min(8) {
            ops.local_get((block + local) % locals + 1)
                .i32_const(1)
                .i32_add()
                .local_set((block * 7 + local) % locals + 1);
        }
    }
    for local in 1..=locals {
        ops.global_get(0).local_get(local).i32_add().global_set(0);
    }
    ops.end();
    function
}

/// A loop of many conditional blocks. Each block changes one of many locals, and the next round reads all of them.
pub fn joins(blocks: u32, locals: u32) -> Function {
    let mut function = Function::new([(locals, ValType::I32)]);
    let mut ops = function.instructions();
    ops.loop_(BlockType::Empty);
    for block in 0..blocks {
        ops.local_get(0).if_(BlockType::Empty);
        ops.local_get(block % locals + 1).i32_const(3).i32_add().local_set(block * 31 % locals + 1);
        ops.end();
        ops.local_get(0).br_if(0);
    }
    ops.end().end();
    function
}

/// Plain arithmetic, much of it.
pub fn plain(additions: u32) -> Function {
    let mut function = Function::new([]);
    let mut ops = function.instructions();
    for step in 0..additions {
        ops.global_get(0).local_get(0).i32_mul().i32_const(step.cast_signed()).i32_xor().global_set(0);
    }
    ops.end();
    function
}
