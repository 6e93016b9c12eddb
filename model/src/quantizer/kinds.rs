//! The kinds of quantizer that a manifest can name, behind one face.

use std::{path::PathBuf, sync::Arc};

use parlo_tokens::TokenFrame;

use super::{
    BeamSearch, Codebooks,
    binary::Binary,
    grouped::{GroupedBooks, GroupedSearch},
    scalar::Scalar,
};
use crate::{error::ModelError, manifest::Quantizer};

/// What the codes of a bundle stand for. Cloning is cheap.
#[derive(Debug, Clone)]
pub(crate) enum Books {
    Residual(Arc<Codebooks>),
    Grouped(Arc<GroupedBooks>),
    Binary(Binary),
    Scalar(Scalar),
    /// The graphs alone know.
    Graph,
}

impl Books {
    /// What the manifest describes; `read` gives a file's whole path and its bytes.
    pub(crate) fn load(
        declared: &Quantizer,
        read: impl FnOnce(&str) -> Result<(PathBuf, Vec<u8>), ModelError>,
    ) -> Result<Self, ModelError> {
        Ok(match declared {
            Quantizer::Residual { file, tensor, dimension, sizes } => {
                let (file, bytes) = read(file)?;
                Self::Residual(Arc::new(Codebooks::parse(&file, &bytes, tensor, *dimension, sizes)?))
            }
            Quantizer::GroupedResidual { file, tensor, dimension, groups, sizes } => {
                let (file, bytes) = read(file)?;
                let books = Codebooks::parse(&file, &bytes, tensor, dimension / groups.max(&1), sizes)?;
                Self::Grouped(Arc::new(GroupedBooks::new(books, *groups)))
            }
            Quantizer::BinarySpherical { dimension } => Self::Binary(Binary::new(*dimension)),
            Quantizer::FiniteScalar { levels } => Self::Scalar(Scalar::new(levels)),
            Quantizer::Graph { .. } => Self::Graph,
        })
    }

    /// Length of a latent; 0 where there is none.
    pub(crate) fn dimension(&self) -> usize {
        match self {
            Self::Residual(books) => books.dimension(),
            Self::Grouped(books) => books.dimension(),
            Self::Binary(binary) => binary.dimension(),
            Self::Scalar(scalar) => scalar.dimension(),
            Self::Graph => 0,
        }
    }

    /// Writes what the frame stands for to `latent`. The frame must fit the books. Where there is no latent, nothing happens.
    pub(crate) fn sum(&self, frame: &TokenFrame, latent: &mut [f32]) {
        match self {
            Self::Residual(books) => books.sum(frame, latent),
            Self::Grouped(books) => books.sum(frame, latent),
            Self::Binary(binary) => binary.sum(frame, latent),
            Self::Scalar(scalar) => scalar.sum(frame, latent),
            Self::Graph => {}
        }
    }

    /// What finds codes, with a beam of so many candidates where there is one. `None` if the graph does.
    pub(crate) fn search(&self, beam: usize) -> Option<Search> {
        Some(match self {
            Self::Residual(books) => Search::Residual(BeamSearch::new(Arc::clone(books), beam)),
            Self::Grouped(books) => Search::Grouped(GroupedSearch::new(books, beam)),
            Self::Binary(binary) => Search::Binary { binary: *binary, error: 0.0 },
            Self::Scalar(scalar) => Search::Scalar { scalar: scalar.clone(), error: 0.0 },
            Self::Graph => return None,
        })
    }
}

/// Finds codes for latents. Does not allocate.
#[derive(Debug)]
pub(crate) enum Search {
    Residual(BeamSearch),
    Grouped(GroupedSearch),
    Binary { binary: Binary, error: f32 },
    Scalar { scalar: Scalar, error: f32 },
}

impl Search {
    /// The codes of the latent, over the first `depth` books.
    pub(crate) fn find(&mut self, latent: &[f32], depth: usize) -> TokenFrame {
        match self {
            Self::Residual(search) => search.find(latent, depth),
            Self::Grouped(search) => search.find(latent, depth),
            Self::Binary { binary, error } => {
                let (frame, left) = binary.find(latent);
                *error = left;
                frame
            }
            Self::Scalar { scalar, error } => {
                let (frame, left) = scalar.find(latent);
                *error = left;
                frame
            }
        }
    }

    /// The codes of so many latents of `dimension` values, one after another.
    pub(crate) fn find_many(
        &mut self,
        latents: &[f32],
        dimension: usize,
        depth: usize,
        mut each: impl FnMut(TokenFrame),
    ) {
        match self {
            Self::Residual(search) => search.find_many(latents, depth, each),
            // Whatever they do costs little beside the network.
            other => latents.chunks_exact(dimension.max(1)).for_each(|latent| each(other.find(latent, depth))),
        }
    }

    /// The squared distance between the last latent and what its codes stand for.
    pub(crate) fn error(&self) -> f32 {
        match self {
            Self::Residual(search) => search.error(),
            Self::Grouped(search) => search.error(),
            Self::Binary { error, .. } | Self::Scalar { error, .. } => *error,
        }
    }
}
