//! Tensors out of a safetensors file, refused by name where they are not as they should be.

use std::path::Path;

use safetensors::{Dtype, SafeTensors};

use super::{arithmetic::Curves, matrix::Matrix};
use crate::error::ModelError;

/// The most inputs or outputs of a layer: the proofs that nothing overflows count on it.
pub(super) const LONGEST: usize = 1 << 11;
/// No product with a multiplier goes beyond this: 26 bits are left of it, so that sums of a few are far from 32.
const MOST_SCALED: i64 = 1 << 50;
/// Sums begin no farther from zero than this; see `products`.
const MOST_BIAS: u32 = 1 << 30;

/// A layer: products of its weights with its inputs, plus a bias, times a multiplier of 24 fractional bits.
pub(super) struct Dense {
    pub(super) weight: Matrix,
    pub(super) bias: Vec<i32>,
    pub(super) multiplier: Vec<i32>,
}

/// The tensors of a file.
pub(super) struct Tensors<'a> {
    file: &'a Path,
    tensors: SafeTensors<'a>,
}

impl<'a> Tensors<'a> {
    pub(super) fn parse(file: &'a Path, bytes: &'a [u8]) -> Result<Self, ModelError> {
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| ModelError::Mismatch {
            file: file.to_owned(),
            field: "format".to_owned(),
            expected: "safetensors".to_owned(),
            found: error.to_string(),
        })?;
        Ok(Self { file, tensors })
    }

    /// A complaint about a tensor; `reason` goes on from its name.
    pub(super) fn wrong(&self, tensor: &str, reason: impl Into<String>) -> ModelError {
        ModelError::Tensor { file: self.file.to_owned(), tensor: tensor.to_owned(), reason: reason.into() }
    }

    /// How long a tensor of `N` dimensions is along each.
    pub(super) fn shape<const N: usize>(&self, name: &str) -> Result<[usize; N], ModelError> {
        let tensor = self.tensors.tensor(name).map_err(|_| self.wrong(name, "is not there"))?;
        let shape = tensor.shape();
        shape.try_into().map_err(|_| self.wrong(name, format!("has shape {shape:?}, which should have {N} dimensions")))
    }

    /// The first dimension of a tensor of two, a number of values that vectors hold: a multiple of 16.
    pub(super) fn rows(&self, name: &str) -> Result<usize, ModelError> {
        let [rows, _] = self.shape(name)?;
        self.multiple(name, rows)
    }

    /// `length` if it is a multiple of 16 that vectors may have.
    pub(super) fn multiple(&self, name: &str, length: usize) -> Result<usize, ModelError> {
        if length.is_multiple_of(16) && (16..=LONGEST).contains(&length) {
            return Ok(length);
        }
        Err(self.wrong(name, format!("has a dimension of {length}; multiples of 16 up to {LONGEST} are possible")))
    }

    fn values<const N: usize, T>(
        &self,
        name: &str,
        shape: &[usize],
        kind: Dtype,
        value: impl Fn([u8; N]) -> T,
    ) -> Result<Vec<T>, ModelError> {
        let tensor = self.tensors.tensor(name).map_err(|_| self.wrong(name, "is not there"))?;
        if tensor.dtype() != kind || tensor.shape() != shape {
            let (dtype, found) = (tensor.dtype(), tensor.shape());
            return Err(self.wrong(name, format!("is {dtype:?} {found:?}, but should be {kind:?} {shape:?}")));
        }
        Ok(tensor.data().as_chunks().0.iter().map(|&bytes| value(bytes)).collect())
    }

    /// Values from -127 to 127. (-128 has no negative of 8 bits, which the products count on.)
    pub(super) fn bytes(&self, name: &str, shape: &[usize]) -> Result<Vec<i8>, ModelError> {
        let values = self.values(name, shape, Dtype::I8, i8::from_le_bytes)?;
        if values.contains(&i8::MIN) {
            return Err(self.wrong(name, "holds -128; -127 to 127 are possible"));
        }
        Ok(values)
    }

    pub(super) fn shorts(&self, name: &str, shape: &[usize]) -> Result<Vec<i16>, ModelError> {
        self.values(name, shape, Dtype::I16, i16::from_le_bytes)
    }

    /// Values from `-most` to `most`.
    pub(super) fn words(&self, name: &str, shape: &[usize], most: u32) -> Result<Vec<i32>, ModelError> {
        let values = self.values(name, shape, Dtype::I32, i32::from_le_bytes)?;
        match values.iter().find(|value| value.unsigned_abs() > most) {
            Some(value) => Err(self.wrong(name, format!("holds {value}; -{most} to {most} are possible"))),
            None => Ok(values),
        }
    }

    /// Factors of products of vectors of `length`: so that none goes beyond 2^50.
    pub(super) fn factors(&self, name: &str, count: usize, length: usize) -> Result<Vec<i32>, ModelError> {
        // Both are up to 127; no length makes this more than an i32 holds, or zero.
        let most = MOST_SCALED / (127 * 127 * length.max(1) as i64);
        self.words(name, &[count], u32::try_from(most).unwrap_or(u32::MAX))
    }

    /// The layer of which the tensors' names begin with `name`.
    pub(super) fn dense(&self, name: &str, rows: usize, columns: usize) -> Result<Dense, ModelError> {
        let bias = self.words(&format!("{name}.bias"), &[rows], MOST_BIAS)?;
        self.scaled(name, bias, columns)
    }

    /// A layer that has no bias.
    pub(super) fn unbiased(&self, name: &str, rows: usize, columns: usize) -> Result<Dense, ModelError> {
        self.scaled(name, vec![0; rows], columns)
    }

    fn scaled(&self, name: &str, bias: Vec<i32>, columns: usize) -> Result<Dense, ModelError> {
        let rows = bias.len();
        let weight = self.bytes(&format!("{name}.weight"), &[rows, columns])?;
        let multiplier = self.words(&format!("{name}.multiplier"), &[rows], i32::MAX.unsigned_abs())?;
        for ((row, weights), (&bias, &multiplier)) in
            weight.chunks_exact(columns).enumerate().zip(bias.iter().zip(&multiplier))
        {
            // Inputs are up to 127. The sum is below 2^31, and so the product below 2^62.
            let sum = weights.iter().map(|&weight| 127 * i64::from(weight).abs()).sum::<i64>() + i64::from(bias).abs();
            let most = sum * i64::from(multiplier).abs();
            if most > MOST_SCALED {
                let reason = format!("makes up to {} of output {row}, beyond {}", most >> 24, MOST_SCALED >> 24);
                return Err(self.wrong(&format!("{name}.multiplier"), reason));
            }
        }
        Ok(Dense { weight: Matrix::new(&weight, columns), bias, multiplier })
    }

    pub(super) fn curves(&self) -> Result<Curves, ModelError> {
        let exp2 = self.words("exp2", &[256], 1 << 22)?;
        let gelu = self.bytes("gelu", &[256])?;
        // The largest weight of a sum is that of 0: no sum is zero.
        if exp2[0] != 1 << 22 || exp2.iter().any(|&value| value < 1 << 21) {
            return Err(self.wrong("exp2", "should begin with 4194304 and never be below 2097152"));
        }
        match (exp2.try_into(), gelu.try_into()) {
            (Ok(exp2), Ok(gelu)) => Ok(Curves { exp2, gelu }),
            _ => Err(self.wrong("exp2", "should have 256 values, as gelu should")),
        }
    }
}
