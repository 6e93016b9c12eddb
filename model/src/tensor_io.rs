//! A tensor that goes into a graph or comes out of it: floats, or codes.

use ort::{
    memory::Allocator,
    session::IoBinding,
    value::{Tensor, TensorElementType},
};

use crate::manifest::{Element, Tensor as Declared};

/// Memory of a tensor, which is allocated once.
pub(crate) enum Port {
    Floats(Tensor<f32>),
    Codes(Tensor<i64>),
}

impl Port {
    /// Zeros of this shape.
    pub(crate) fn zeros(element: Element, shape: Vec<i64>) -> ort::Result<Self> {
        Ok(match element {
            Element::Float => {
                let mut tensor = Tensor::<f32>::new(&Allocator::default(), shape)?;
                tensor.extract_tensor_mut().1.fill(0.0);
                Self::Floats(tensor)
            }
            Element::Code => {
                let mut tensor = Tensor::<i64>::new(&Allocator::default(), shape)?;
                tensor.extract_tensor_mut().1.fill(0);
                Self::Codes(tensor)
            }
        })
    }

    /// Has a binding read it.
    pub(crate) fn bind_input(&self, binding: &mut IoBinding, name: &str) -> ort::Result<()> {
        match self {
            Self::Floats(tensor) => binding.bind_input(name, tensor),
            Self::Codes(tensor) => binding.bind_input(name, tensor),
        }
    }

    /// Has a binding write it.
    pub(crate) fn bind_output(&mut self, binding: &mut IoBinding, name: &str) -> ort::Result<()> {
        match self {
            Self::Floats(tensor) => binding.bind_output(name, tensor),
            Self::Codes(tensor) => binding.bind_output(name, tensor),
        }
    }

    /// Its floats; none if it holds codes.
    pub(crate) fn floats(&self) -> &[f32] {
        match self {
            Self::Floats(tensor) => tensor.extract_tensor().1,
            Self::Codes(_) => &[],
        }
    }

    /// The same, to be written.
    pub(crate) fn floats_mut(&mut self) -> &mut [f32] {
        match self {
            Self::Floats(tensor) => tensor.extract_tensor_mut().1,
            Self::Codes(_) => &mut [],
        }
    }

    /// Its codes; none if it holds floats.
    pub(crate) fn codes(&self) -> &[i64] {
        match self {
            Self::Codes(tensor) => tensor.extract_tensor().1,
            Self::Floats(_) => &[],
        }
    }

    /// The same, to be written.
    pub(crate) fn codes_mut(&mut self) -> &mut [i64] {
        match self {
            Self::Codes(tensor) => tensor.extract_tensor_mut().1,
            Self::Floats(_) => &mut [],
        }
    }
}

/// What a graph must have for a tensor, as it is called in a sentence.
pub(crate) fn described(element: Element) -> (TensorElementType, &'static str) {
    match element {
        Element::Float => (TensorElementType::Float32, "float32 tensor"),
        Element::Code => (TensorElementType::Int64, "int64 tensor"),
    }
}

/// A tensor that must be there, as the manifest was checked.
pub(crate) fn declared(tensor: Option<&Declared>) -> &Declared {
    tensor.unwrap_or_else(|| unreachable!("the manifest was checked for it"))
}
