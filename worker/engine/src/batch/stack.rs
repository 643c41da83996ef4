//! Several messages in one run: their tensors stacked along the first dimension, and the outputs split again.
//!
//! It promises that messages are stacked only with others of the same shape, that each gets back exactly its own
//! rows, and that a stack which cannot be run or split says so, so that each message can be run by itself. It must
//! never decide whether a model may be stacked at all: `sharing.rs` does.

use std::ops::Range;

use inferbus_abi::frame::{DataType, Shape, Tensor};

use crate::backend::byte_len;
use crate::signature::Few;
use crate::{Model, ModelFault, Signature};

/// Messages on their way into one run of a model, or into a few where their shapes differ.
pub struct Stacks<'s> {
    signature: &'s Signature,
    /// Bytes of inputs that one stack holds at most, unless a single message has more.
    room: usize,
    stacks: Vec<Stack>,
}

impl<'s> Stacks<'s> {
    pub fn new(signature: &'s Signature, room: usize) -> Self {
        Self { signature, room, stacks: Vec::new() }
    }

    /// Copies a message's tensors onto a stack that they fit, and says which; it is that stack's last member now.
    pub fn push(&mut self, tensors: &[Tensor<'_>]) -> Result<usize, ModelFault> {
        let ordered = self.signature.order(tensors)?;
        for (tensor, port) in ordered.iter().zip(&self.signature.inputs) {
            if byte_len(tensor.dtype, tensor.shape) != Some(tensor.data.len()) {
                let got = tensor.data.len();
                return Err(ModelFault::bad_data(
                    &port.name,
                    format_args!("{got} bytes, not those of {}", tensor.shape),
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

    /// Of all inputs on all stacks.
    pub fn bytes(&self) -> usize {
        self.stacks.iter().map(Stack::bytes).sum()
    }

    /// The stacks, each with how many messages it has.
    pub fn iter(&self) -> impl Iterator<Item = (&Stack, usize)> {
        self.stacks.iter().map(|stack| (stack, stack.members.len()))
    }

    /// Runs a stack, and lends each member's outputs to `each`, in order. Nothing is lent where this is a fault.
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

    /// Runs one member of a stack by itself.
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

    /// The inputs in some rows of a stack.
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
                // One that cannot be stacked is its stack's only member, and keeps its own shape.
                if stack.open { Cut::of(&whole, stack.rows(), rows) } else { Cut::whole(&whole) }
            })
            .collect();
        run(&cuts.iter().map(Cut::tensor).collect::<Few<_>>())
    }
}

/// Messages of one shape.
pub struct Stack {
    columns: Few<Column>,
    /// Which rows are whose.
    members: Vec<Range<u64>>,
    /// Whether all inputs have the same number of rows, so that more messages can be put below.
    open: bool,
}

/// One input of the model, of all members.
struct Column {
    dtype: DataType,
    /// As the first member has them.
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
    /// Of a tensor that has `all` rows.
    fn of(tensor: &Tensor<'a>, all: u64, rows: &Range<u64>) -> Self {
        let mut cut = Self::whole(tensor);
        if let Some(first) = cut.dims.first_mut() {
            *first = rows.end - rows.start;
        }
        // Every row has the same length, since types smaller than a byte are not stacked.
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

/// Whether rows of this type can be put below one another, byte by byte.
pub(crate) fn has_plain_rows(dtype: DataType) -> bool {
    dtype != DataType::String && dtype.bits().is_multiple_of(8)
}

/// The first dimension of all inputs, if it is the same and there is something in it.
fn common_rows(tensors: &[&Tensor<'_>]) -> Option<u64> {
    let mut all = tensors.iter().map(|tensor| tensor.shape.iter().next().filter(|_| has_plain_rows(tensor.dtype)));
    let first = all.next()??;
    (first > 0 && all.all(|rows| rows == Some(first))).then_some(first)
}

fn all_have_rows(outputs: &[Tensor<'_>], rows: u64) -> Result<(), ModelFault> {
    let whole = |output: &&Tensor<'_>| has_plain_rows(output.dtype) && output.shape.iter().next() == Some(rows);
    match outputs.iter().find(|output| !whole(output)) {
        Some(output) => Err(ModelFault::failed(format_args!(
            "its output {:?} of shape {} cannot be split into the {rows} rows that went in",
            output.name, output.shape
        ))),
        None => Ok(()),
    }
}
