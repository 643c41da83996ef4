//! Converts tensors to ONNX Runtime values and back, without copying numbers.
//!
//! Guarantees: a value never outlives its memory, and its data always has the length of its shape.
//! Strings are copied, because ONNX Runtime keeps them as C++ objects.

use std::{ffi::c_char, marker::PhantomData, ptr, ptr::NonNull};

use inferbus_abi::frame::{DataType, Shape, Tensor, encode_strings, strings};
use ort::{
    AsPointer, api,
    memory::{Allocator, MemoryInfo},
    sys::{self, ONNXTensorElementDataType as RuntimeType},
};

use crate::{ModelFault, limits::MAX_RANK};

/// Turns a status into a result.
///
/// # Safety
/// The status must come from ONNX Runtime and not have been released.
pub(crate) unsafe fn check(status: sys::OrtStatusPtr) -> Result<(), ModelFault> {
    // SAFETY: the caller's obligation.
    unsafe { ort::Error::result_from_status(status) }.map_err(ModelFault::failed)
}

/// A value of ONNX Runtime, released with its owner.
pub(crate) struct Value(NonNull<sys::OrtValue>);

impl Value {
    /// Takes ownership of a value from ONNX Runtime.
    ///
    /// # Safety
    /// The pointer must be null or own a value without another owner.
    pub(crate) unsafe fn own(value: *mut sys::OrtValue) -> Result<Self, ModelFault> {
        NonNull::new(value).map(Self).ok_or_else(|| ModelFault::failed("it returned neither a value nor an error"))
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        // SAFETY: we own the value and release it only here.
        unsafe { (api().ReleaseValue)(self.0.as_ptr()) }
    }
}

/// An input, lent to ONNX Runtime while we borrow its tensor.
pub(crate) struct Input<'a> {
    value: Value,
    /// A copy of the numbers if they were not aligned for ONNX Runtime.
    _realigned: Option<Vec<u64>>,
    _borrowed: PhantomData<&'a [u8]>,
}

impl<'a> Input<'a> {
    /// The tensor must have the type of the model's input `name`.
    pub(crate) fn new(tensor: &Tensor<'a>, name: &str, memory: &MemoryInfo<'_>) -> Result<Self, ModelFault> {
        let mut dims = [0; MAX_RANK];
        let dims = dimensions(tensor.shape, &mut dims).map_err(|what| ModelFault::bad_data(name, what))?;
        match tensor.dtype {
            DataType::String => Self::strings(tensor, name, dims),
            DataType::Bool if tensor.data.iter().any(|&byte| byte > 1) => {
                Err(ModelFault::bad_data(name, "a bool is neither 0 nor 1"))
            }
            _ => Self::numbers(tensor, name, dims, memory),
        }
    }

    pub(crate) fn as_ptr(&self) -> *const sys::OrtValue {
        self.value.0.as_ptr()
    }

    fn numbers(tensor: &Tensor<'a>, name: &str, dims: &[i64], memory: &MemoryInfo<'_>) -> Result<Self, ModelFault> {
        let len = tensor.data.len();
        match byte_len(tensor.dtype, tensor.shape) {
            Some(expected) if expected == len => {}
            Some(expected) => {
                return Err(ModelFault::bad_data(name, format_args!("{len} bytes, not {expected}")));
            }
            None => {
                return Err(ModelFault::bad_data(name, "more elements than memory can hold"));
            }
        }
        let realigned = (!is_aligned(tensor)).then(|| realign(tensor.data));
        let data = realigned.as_ref().map_or(tensor.data.as_ptr(), |words| words.as_ptr().cast());
        let mut value = ptr::null_mut();
        // SAFETY: `data` points to `len` bytes, aligned for the type. They live as long as the result: they are
        // borrowed for 'a or belong to the result itself. ONNX Runtime never writes to an input, despite the
        // pointer's type. `dims` has the stated length, and its elements times their size are `len`.
        let value = unsafe {
            check((api().CreateTensorWithDataAsOrtValue)(
                memory.ptr(),
                data.cast_mut().cast(),
                len,
                dims.as_ptr(),
                dims.len(),
                runtime_type(tensor.dtype),
                &mut value,
            ))?;
            Value::own(value)?
        };
        Ok(Self { value, _realigned: realigned, _borrowed: PhantomData })
    }

    fn strings(tensor: &Tensor<'a>, name: &str, dims: &[i64]) -> Result<Self, ModelFault> {
        let whole = strings(tensor.data).fold((0, 0), |(count, len), text| (count + 1, len + 4 + text.len()));
        // Counted before any allocation: the shape is untrusted.
        if tensor.shape.elements() != Some(whole.0) || whole.1 != tensor.data.len() {
            return Err(ModelFault::bad_data(
                name,
                "its strings are truncated, not UTF-8, or their number does not match the shape",
            ));
        }
        let mut value = ptr::null_mut();
        // SAFETY: the allocator belongs to ONNX Runtime and is never released; `dims` has the stated length.
        let value = unsafe {
            check((api().CreateTensorAsOrtValue)(
                Allocator::default().ptr().cast_mut(),
                dims.as_ptr(),
                dims.len(),
                RuntimeType::ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING,
                &mut value,
            ))?;
            Value::own(value)?
        };
        for (index, text) in strings(tensor.data).enumerate() {
            let mut place: *mut c_char = ptr::null_mut();
            // SAFETY: the value is a string tensor with more than `index` elements, as counted above. The call
            // allocates the text's bytes and returns their address.
            unsafe {
                check((api().GetResizedStringTensorElementBuffer)(value.0.as_ptr(), index, text.len(), &mut place))?;
                ptr::copy_nonoverlapping(text.as_ptr(), place.cast(), text.len());
            }
        }
        Ok(Self { value, _realigned: None, _borrowed: PhantomData })
    }
}

/// An output in a value, together with that value.
pub(crate) struct Output {
    value: Value,
    dtype: DataType,
    dims: [u64; MAX_RANK],
    rank: usize,
    data: Data,
}

enum Data {
    /// Address and number of bytes, owned by the value.
    Lent(NonNull<u8>, usize),
    Own(Vec<u8>),
}

impl Output {
    pub(crate) fn read(value: Value) -> Result<Self, ModelFault> {
        let (dtype, dims, rank) = type_and_shape(&value)?;
        let mut output = Self { value, dtype, dims, rank, data: Data::Own(Vec::new()) };
        let elements = output.shape().elements().and_then(|count| usize::try_from(count).ok());
        let too_many = || ModelFault::failed("an output has more elements than memory can hold");
        output.data = match dtype {
            DataType::String => Data::Own(output.read_strings(elements.ok_or_else(too_many)?)?),
            _ => output.find_numbers(byte_len(dtype, output.shape()).ok_or_else(too_many)?)?,
        };
        Ok(output)
    }

    pub(crate) fn tensor<'a>(&'a self, name: &'a str) -> Tensor<'a> {
        let data = match &self.data {
            // SAFETY: ONNX Runtime keeps these bytes at this address while the value lives. `self` owns the value,
            // so there is no other writer.
            Data::Lent(start, len) => unsafe { std::slice::from_raw_parts(start.as_ptr(), *len) },
            Data::Own(data) => data,
        };
        Tensor { name, dtype: self.dtype, shape: self.shape(), data }
    }

    fn shape(&self) -> Shape<'_> {
        self.dims.get(..self.rank).unwrap_or_default().into()
    }

    fn find_numbers(&self, len: usize) -> Result<Data, ModelFault> {
        let mut start = ptr::null_mut();
        // SAFETY: the value is a tensor of numbers, and `start` is ours to write to.
        unsafe { check((api().GetTensorMutableData)(self.value.0.as_ptr(), &mut start)) }?;
        match (NonNull::new(start.cast()), len) {
            // An empty tensor may have a null address.
            (_, 0) => Ok(Data::Own(Vec::new())),
            (Some(start), len) => Ok(Data::Lent(start, len)),
            (None, _) => Err(ModelFault::failed("an output without data")),
        }
    }

    fn read_strings(&self, count: usize) -> Result<Vec<u8>, ModelFault> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let mut len = 0;
        // SAFETY: the value is a string tensor, and `len` is ours to write to.
        unsafe { check((api().GetStringTensorDataLength)(self.value.0.as_ptr(), &mut len)) }?;
        let (mut text, mut starts) = (vec![0_u8; len], vec![0_usize; count]);
        // SAFETY: both vectors have the stated lengths, as the value requires.
        unsafe {
            check((api().GetStringTensorContent)(
                self.value.0.as_ptr(),
                text.as_mut_ptr().cast(),
                len,
                starts.as_mut_ptr(),
                count,
            ))
        }?;
        let ends = starts.iter().skip(1).copied().chain([len]);
        let each = starts.iter().zip(ends).map(|(&start, end)| text.get(start..end).unwrap_or_default());
        let each = each.map(std::str::from_utf8).collect::<Result<Vec<_>, _>>();
        each.map(encode_strings)
            .map_err(|_| ModelFault::failed("an output contains a string in another encoding than UTF-8"))
    }
}

/// The type and dimensions of a run's output.
fn type_and_shape(value: &Value) -> Result<(DataType, [u64; MAX_RANK], usize), ModelFault> {
    let mut info = ptr::null_mut();
    // SAFETY: the value lives, and `info` is ours to write to.
    unsafe { check((api().GetTensorTypeAndShape)(value.0.as_ptr(), &mut info)) }?;
    let read = || {
        let (mut code, mut rank, mut signed) = (0_i32, 0, [0_i64; MAX_RANK]);
        // SAFETY: `info` is new. The type is read as a number as wide as the enum, so unknown values of newer
        // libraries are valid. At most `MAX_RANK` dimensions are read.
        unsafe {
            check((api().GetTensorElementType)(info, (&raw mut code).cast()))?;
            check((api().GetDimensionsCount)(info, &mut rank))?;
            check((api().GetDimensions)(info, signed.as_mut_ptr(), rank.min(MAX_RANK)))?;
        }
        let dtype = data_type(code).ok_or_else(|| ModelFault::failed(format_args!("an output has type {code}")))?;
        if rank > MAX_RANK {
            return Err(ModelFault::failed(format_args!("an output has {rank} dimensions, more than {MAX_RANK}")));
        }
        let mut dims = [0; MAX_RANK];
        for (dim, signed) in dims.iter_mut().zip(signed) {
            *dim = u64::try_from(signed).map_err(|_| ModelFault::failed("an output has a negative dimension"))?;
        }
        Ok((dtype, dims, rank))
    };
    let result = read();
    // SAFETY: `info` is ours and no longer used.
    unsafe { (api().ReleaseTensorTypeAndShapeInfo)(info) };
    result
}

fn dimensions<'d>(shape: Shape<'_>, dims: &'d mut [i64; MAX_RANK]) -> Result<&'d [i64], &'static str> {
    let rank = shape.rank();
    for (dim, size) in dims.iter_mut().zip(shape.iter()) {
        *dim = i64::try_from(size).map_err(|_| "a dimension is above 2^63")?;
    }
    dims.get(..rank).ok_or("it has too many dimensions")
}

pub(crate) fn byte_len(dtype: DataType, shape: Shape<'_>) -> Option<usize> {
    let bits = shape.elements()?.checked_mul(u64::from(dtype.bits()))?;
    usize::try_from(bits.div_ceil(8)).ok()
}

/// Whether ONNX Runtime can read the tensor's elements in place.
fn is_aligned(tensor: &Tensor<'_>) -> bool {
    // A complex number is two numbers, so eight bytes suffice for every type.
    let alignment = (tensor.dtype.bits() as usize / 8).clamp(1, align_of::<u64>());
    (tensor.data.as_ptr() as usize).is_multiple_of(alignment)
}

fn realign(data: &[u8]) -> Vec<u64> {
    let word = |chunk: &[u8]| {
        let mut bytes = [0; 8];
        bytes.iter_mut().zip(chunk).for_each(|(byte, from)| *byte = *from);
        u64::from_ne_bytes(bytes)
    };
    data.chunks(size_of::<u64>()).map(word).collect()
}

/// The newest types have different numbers in ONNX and in ONNX Runtime.
pub(crate) const fn runtime_type(dtype: DataType) -> RuntimeType {
    match dtype {
        DataType::F32 => RuntimeType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
        DataType::U8 => RuntimeType::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8,
        DataType::I8 => RuntimeType::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8,
        DataType::U16 => RuntimeType::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16,
        DataType::I16 => RuntimeType::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16,
        DataType::I32 => RuntimeType::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
        DataType::I64 => RuntimeType::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
        DataType::String => RuntimeType::ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING,
        DataType::Bool => RuntimeType::ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL,
        DataType::F16 => RuntimeType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
        DataType::F64 => RuntimeType::ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE,
        DataType::U32 => RuntimeType::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32,
        DataType::U64 => RuntimeType::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64,
        DataType::Complex64 => RuntimeType::ONNX_TENSOR_ELEMENT_DATA_TYPE_COMPLEX64,
        DataType::Complex128 => RuntimeType::ONNX_TENSOR_ELEMENT_DATA_TYPE_COMPLEX128,
        DataType::Bf16 => RuntimeType::ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16,
        DataType::F8E4M3Fn => RuntimeType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E4M3FN,
        DataType::F8E4M3FnUz => RuntimeType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E4M3FNUZ,
        DataType::F8E5M2 => RuntimeType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E5M2,
        DataType::F8E5M2FnUz => RuntimeType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E5M2FNUZ,
        DataType::U4 => RuntimeType::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT4,
        DataType::I4 => RuntimeType::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT4,
        DataType::F4E2M1 => RuntimeType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT4E2M1,
        DataType::F8E8M0 => RuntimeType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E8M0,
        DataType::U2 => RuntimeType::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT2,
        DataType::I2 => RuntimeType::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT2,
    }
}

pub(crate) fn data_type(code: i32) -> Option<DataType> {
    DataType::ALL.iter().copied().find(|&dtype| runtime_type(dtype) as i32 == code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_a_unique_number() {
        for &dtype in DataType::ALL {
            assert_eq!(data_type(runtime_type(dtype) as i32), Some(dtype));
        }
        assert_eq!(data_type(0), None);
        assert_eq!(data_type(i32::MAX), None);
    }

    #[test]
    fn realigned_data_keeps_its_bytes() {
        for len in 0..20 {
            let data: Vec<u8> = (1..=len).collect();
            let words = realign(&data);
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
            assert_eq!(bytes.get(..data.len()), Some(data.as_slice()));
        }
    }
}
