//! Stacks the tensors of several messages along the first dimension for one run, and splits the outputs.
//!
//! Guarantees: messages share a stack only with the same shape, and each gets exactly its own rows.
//! If a stack cannot be run or split, it returns a fault, and each message can be run individually.
//! It must never decide whether a model may be stacked; `can_stack.rs` does.

use std::ops::Range;

use inferbus_abi::frame::{DataType, Shape, Tensor};

use crate::backend::byte_len;
use crate::signature::Few;
use crate::{Model, ModelFault, Signature};

/// Messages for one run of a model, or for several runs if their shapes differ.
pub struct Stacks<'s> {
    signature: &'s Signature,
    /// The most bytes of inputs in one stack. A single message may have more.
    room: usize,
    stacks: Vec<Stack>,
}

impl<'s> Stacks<'s> {
    pub fn new(signature: &'s Signature, room: usize) -> Self {
        Self { signature, room, stacks: Vec::new() }
    }

    /// Copies a message's tensors onto a fitting stack, as its last member, and returns the stack's index.
    pub fn push(&mut self, tensors: &[Tensor<'_>]) -> Result<usize, ModelFault> {
        let ordered = self.signature.order(tensors)?;
        for (tensor, port) in ordered.iter().zip(&self.signature.inputs) {
            if byte_len(tensor.dtype, tensor.shape) != Some(tensor.data.len()) {
                let got = tensor.data.len();
                return Err(ModelFault::bad_data(
                    &port.name,
                    format_args!("{got} bytes do not match {}", tensor.shape),
                ));
            }
        }
        let bytes: usize = ordered.iter().map(|tensor| tensor.data.len()).sum();
        let takes = |stack: &Stack| stack.fits(&ordered) && stack.bytes() + bytes <= self.room;
        let fitting = self.stacks.iter().position(takes);
        let index = fitting.unwrap_or_else(|| {
            self.stacks.push(Stack::like(&ordered));
            self.stacks.len() - 1
        });
        if let Some(stack) = self.stacks.get_mut(index) {
            stack.push(&ordered);
        }
        Ok(index)
    }

    /// The bytes of all inputs on all stacks.
    pub fn bytes(&self) -> usize {
        self.stacks.iter().map(Stack::bytes).sum()
    }

    /// The stacks, each with its number of messages.
    pub fn iter(&self) -> impl Iterator<Item = (&Stack, usize)> {
        self.stacks.iter().map(|stack| (stack, stack.members.len()))
    }

    /// Runs a stack and lends each member's outputs to `each`, in order. After a fault, `each` was not called.
    pub fn run(
        &self,
        stack: &Stack,
        model: &mut dyn Model,
        each: &mut dyn FnMut(usize, &[Tensor<'_>]),
    ) -> Result<(), ModelFault> {
        let mut split = Ok(());
        self.lend(stack, &(0..stack.rows()), &mut |inputs| {
            model.run(inputs, &mut |outputs| {
                split = all_have_rows(outputs, stack.rows());
                for (member, rows) in stack.members.iter().enumerate().take_while(|_| split.is_ok()) {
                    let cuts: Few<Cut<'_>> = outputs.iter().map(|output| Cut::of(output, stack.rows(), rows)).collect();
                    each(member, &cuts.iter().map(Cut::tensor).collect::<Few<_>>());
                }
            })
        })?;
        split
    }

    /// Runs one member of a stack individually.
    pub fn run_alone(
        &self,
        stack: &Stack,
        member: usize,
        model: &mut dyn Model,
        take: &mut dyn FnMut(&[Tensor<'_>]),
    ) -> Result<(), ModelFault> {
        let rows = stack.members.get(member).cloned().unwrap_or_default();
        self.lend(stack, &rows, &mut |inputs| model.run(inputs, take))
    }

    /// Lends the inputs in some rows of a stack.
    fn lend(
        &self,
        stack: &Stack,
        rows: &Range<u64>,
        run: &mut dyn FnMut(&[Tensor<'_>]) -> Result<(), ModelFault>,
    ) -> Result<(), ModelFault> {
        let named = stack.columns.iter().zip(&self.signature.inputs);
        let cuts: Few<Cut<'_>> = named
            .map(|(column, port)| {
                let shape = Shape::from(&*column.dims);
                let whole = Tensor { name: &port.name, dtype: column.dtype, shape, data: &column.data };
                // In a closed stack, the only member keeps its own shape.
                if stack.open { Cut::of(&whole, stack.rows(), rows) } else { Cut::whole(&whole) }
            })
            .collect();
        run(&cuts.iter().map(Cut::tensor).collect::<Few<_>>())
    }
}

/// Messages of one shape.
pub struct Stack {
    columns: Few<Column>,
    /// The rows of each member.
    members: Vec<Range<u64>>,
    /// Whether all inputs have the same number of rows, so that more messages can be appended.
    open: bool,
}

/// One input of the model, of all members.
struct Column {
    dtype: DataType,
    /// The dimensions of the first member.
    dims: Few<u64>,
    data: Vec<u8>,
}

impl Stack {
    fn like(tensors: &[&Tensor<'_>]) -> Self {
        let column = |tensor: &&Tensor<'_>| Column {
            dtype: tensor.dtype,
            dims: tensor.shape.iter().collect(),
            data: Vec::with_capacity(tensor.data.len()),
        };
        let columns = tensors.iter().map(column).collect();
        Self { columns, members: Vec::new(), open: common_rows(tensors).is_some() }
    }

    fn fits(&self, tensors: &[&Tensor<'_>]) -> bool {
        let same = |(column, tensor): (&Column, &&Tensor<'_>)| {
            column.dtype == tensor.dtype
                && column.dims.len() == tensor.shape.rank()
                && column.dims.iter().copied().skip(1).eq(tensor.shape.iter().skip(1))
        };
        self.open && common_rows(tensors).is_some() && self.columns.iter().zip(tensors).all(same)
    }

    fn push(&mut self, tensors: &[&Tensor<'_>]) {
        for (column, tensor) in self.columns.iter_mut().zip(tensors) {
            column.data.extend_from_slice(tensor.data);
        }
        let start = self.rows();
        self.members.push(start..start + common_rows(tensors).unwrap_or(1));
    }

    fn rows(&self) -> u64 {
        self.members.last().map_or(0, |rows| rows.end)
    }

    fn bytes(&self) -> usize {
        self.columns.iter().map(|column| column.data.len()).sum()
    }
}

/// Some rows of a tensor.
struct Cut<'a> {
    name: &'a str,
    dtype: DataType,
    dims: Few<u64>,
    data: &'a [u8],
}

impl<'a> Cut<'a> {
    /// Cuts `rows` out of a tensor with `all` rows.
    fn of(tensor: &Tensor<'a>, all: u64, rows: &Range<u64>) -> Self {
        let mut cut = Self::whole(tensor);
        if let Some(first) = cut.dims.first_mut() {
            *first = rows.end - rows.start;
        }
        // Every row has the same length: types smaller than a byte are not stacked.
        let row = tensor.data.len() as u64 / all.max(1);
        let place = |row_number: u64| usize::try_from(row * row_number).unwrap_or(usize::MAX);
        cut.data = tensor.data.get(place(rows.start)..place(rows.end)).unwrap_or_default();
        cut
    }

    fn whole(tensor: &Tensor<'a>) -> Self {
        Self { name: tensor.name, dtype: tensor.dtype, dims: tensor.shape.iter().collect(), data: tensor.data }
    }

    fn tensor(&self) -> Tensor<'_> {
        Tensor { name: self.name, dtype: self.dtype, shape: Shape::from(&*self.dims), data: self.data }
    }
}

/// Whether rows of this type can be concatenated as bytes.
pub(crate) fn has_plain_rows(dtype: DataType) -> bool {
    dtype != DataType::String && dtype.bits().is_multiple_of(8)
}

/// The first dimension of all inputs, if it is the same and not zero.
fn common_rows(tensors: &[&Tensor<'_>]) -> Option<u64> {
    let mut all = tensors.iter().map(|tensor| tensor.shape.iter().next().filter(|_| has_plain_rows(tensor.dtype)));
    let first = all.next()??;
    (first > 0 && all.all(|rows| rows == Some(first))).then_some(first)
}

fn all_have_rows(outputs: &[Tensor<'_>], rows: u64) -> Result<(), ModelFault> {
    let whole = |output: &&Tensor<'_>| has_plain_rows(output.dtype) && output.shape.iter().next() == Some(rows);
    match outputs.iter().find(|output| !whole(output)) {
        Some(output) => Err(ModelFault::failed(format_args!(
            "its output {:?} of shape {} cannot be split into the {rows} rows of the input",
            output.name, output.shape
        ))),
        None => Ok(()),
    }
}
