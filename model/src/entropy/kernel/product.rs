//! Products of matrices and vectors of 8-bit integers, where nearly all of the time goes.

#[cfg(target_arch = "x86_64")]
use super::Kernel;
use super::Lanes;
use crate::entropy::matrix::{COLUMNS, ROWS, Tile};

/// Adds to `sums` the products of matrices with vectors: as many of them as `parts` says, one after the other in each of
/// the slices, all of one size.
///
/// tiles: [parts, rows / 16, columns / 4]; x: [parts, columns]; sums: [parts, rows]. With up to 2^11 columns no product
/// goes beyond 2^26 (|weight| <= 127, |x| <= 128), so that no sum overflows that begins below 2^30.
pub(in crate::entropy) fn products(lanes: Lanes, tiles: &[Tile], x: &[i8], sums: &mut [i32], parts: usize) {
    if parts == 0 || x.len() < parts * COLUMNS || sums.len() < parts * ROWS {
        return;
    }
    debug_assert_eq!(tiles.len() * ROWS * COLUMNS * parts, x.len() * sums.len());
    match lanes.kernel() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Lanes` holds this kernel only if the processor has the feature, as `Lanes::new` sees to.
        Kernel::Avx2 => unsafe { x86::avx2(tiles, x, sums, parts) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above; `Kernel::is_available` asks for each of these features.
        Kernel::Avx512Vnni => unsafe { x86::avx512_vnni(tiles, x, sums, parts) },
        _ => each(tiles, x, sums, parts, portable),
    }
}

/// Gives each part to `product`.
#[inline(always)]
fn each(tiles: &[Tile], x: &[i8], sums: &mut [i32], parts: usize, product: impl Fn(&[Tile], &[[i8; 4]], &mut [i32])) {
    let (columns, rows) = (x.len() / parts, sums.len() / parts);
    let tiles = tiles.chunks_exact(rows / ROWS * (columns / COLUMNS));
    for ((tiles, x), sums) in tiles.zip(x.chunks_exact(columns)).zip(sums.chunks_exact_mut(rows)) {
        product(tiles, x.as_chunks().0, sums);
    }
}

/// Plain arithmetic: de-interleaving loads and widening multiplications are what compilers for ARM make of it.
fn portable(tiles: &[Tile], x: &[[i8; COLUMNS]], sums: &mut [i32]) {
    for (band, sums) in tiles.chunks_exact(x.len()).zip(sums.as_chunks_mut::<ROWS>().0) {
        for (tile, x) in band.iter().zip(x) {
            for (sum, row) in sums.iter_mut().zip(tile.0.as_chunks::<COLUMNS>().0) {
                let product = |n: usize| i32::from(i16::from(row[n]) * i16::from(x[n]));
                *sum += product(0) + product(1) + product(2) + product(3);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{COLUMNS, ROWS, Tile, each};

    /// Bands of 16 rows that share each vector of inputs: enough sums side by side to hide how long each addition takes.
    const BANDS: usize = 4;

    #[target_feature(enable = "avx2")]
    pub(super) fn avx2(tiles: &[Tile], x: &[i8], sums: &mut [i32], parts: usize) {
        each(tiles, x, sums, parts, |tiles, x, sums| {
            let (pairs, last) = sums.as_chunks_mut::<{ 2 * ROWS }>();
            let (of_pairs, of_last) = tiles.split_at(pairs.len() * 2 * x.len());
            for (tiles, sums) in of_pairs.chunks_exact(2 * x.len()).zip(pairs) {
                let (one, other) = tiles.split_at(x.len());
                bands_avx2([one, other], x, sums.as_chunks_mut().0);
            }
            if !last.is_empty() {
                bands_avx2([of_last], x, last.as_chunks_mut().0);
            }
        });
    }

    /// `sums` has two chunks of eight for each band.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn bands_avx2<const N: usize>(bands: [&[Tile]; N], x: &[[i8; COLUMNS]], sums: &mut [[i32; 8]]) {
        let ones = _mm256_set1_epi16(1);
        let mut own = [[_mm256_setzero_si256(); 2]; N];
        for (column, x) in x.iter().enumerate() {
            let x = _mm256_set1_epi32(i32::from_le_bytes(x.map(|value| value as u8)));
            let size = _mm256_abs_epi8(x);
            for (own, band) in own.iter_mut().zip(bands) {
                for (own, half) in own.iter_mut().zip(band[column].0.as_chunks::<32>().0) {
                    // |x| as an unsigned byte, up to 128, times the weight with x's sign. Weights are never -128, whose
                    // negative is no 8-bit number. Two products make at most 2 x 128 x 127 = 32512: they do not saturate.
                    let pairs = _mm256_maddubs_epi16(size, _mm256_sign_epi8(load256(half), x));
                    *own = _mm256_add_epi32(*own, _mm256_madd_epi16(pairs, ones));
                }
            }
        }
        for (sums, own) in sums.iter_mut().zip(own.as_flattened()) {
            let mut lanes = [0_i32; 8];
            // SAFETY: `lanes` has the 32 bytes that are written; this instruction asks for no alignment.
            unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), *own) };
            sums.iter_mut().zip(lanes).for_each(|(sum, own)| *sum += own);
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn load256(bytes: &[i8; 32]) -> __m256i {
        // SAFETY: `bytes` has the 32 bytes that are read; this instruction asks for no alignment.
        unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    pub(super) fn avx512_vnni(tiles: &[Tile], x: &[i8], sums: &mut [i32], parts: usize) {
        each(tiles, x, sums, parts, |tiles, x, sums| {
            let (groups, rest) = sums.as_chunks_mut::<{ BANDS * ROWS }>();
            let (of_groups, of_rest) = tiles.split_at(groups.len() * BANDS * x.len());
            for (tiles, sums) in of_groups.chunks_exact(BANDS * x.len()).zip(groups) {
                let bands = std::array::from_fn::<_, BANDS, _>(|n| &tiles[n * x.len()..][..x.len()]);
                bands_avx512(bands, x, sums.as_chunks_mut().0);
            }
            let (pairs, last) = rest.as_chunks_mut::<{ 2 * ROWS }>();
            let (of_pairs, of_last) = of_rest.split_at(pairs.len() * 2 * x.len());
            for (tiles, sums) in of_pairs.chunks_exact(2 * x.len()).zip(pairs) {
                let (one, other) = tiles.split_at(x.len());
                bands_avx512([one, other], x, sums.as_chunks_mut().0);
            }
            if !last.is_empty() {
                bands_avx512([of_last], x, last.as_chunks_mut().0);
            }
        });
    }

    /// `sums` has one chunk for each band.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn bands_avx512<const N: usize>(bands: [&[Tile]; N], x: &[[i8; COLUMNS]], sums: &mut [[i32; ROWS]]) {
        // The instruction multiplies unsigned bytes by signed ones. Weights become unsigned by adding 128 (which flips the
        // top bit): (weight + 128) x = weight x + 128 x, and the latter, the same for all rows, is what sums begin below.
        // It adds without saturation (VPDPBUSD; VPDPBUSDS is the one that saturates), and what it adds goes to at most
        // 2^11 x 255 x 128 < 2^27.
        let flip = _mm512_set1_epi8(i8::MIN);
        let sum_of_x: i32 = x.as_flattened().iter().map(|&value| i32::from(value)).sum();
        let mut own = [_mm512_set1_epi32(-128 * sum_of_x); N];
        for (column, x) in x.iter().enumerate() {
            let x = _mm512_set1_epi32(i32::from_le_bytes(x.map(|value| value as u8)));
            for (own, band) in own.iter_mut().zip(bands) {
                *own = _mm512_dpbusd_epi32(*own, _mm512_xor_si512(load512(&band[column]), flip), x);
            }
        }
        for (sums, own) in sums.iter_mut().zip(own) {
            let mut lanes = [0_i32; ROWS];
            // SAFETY: `lanes` has the 64 bytes that are written; this instruction asks for no alignment.
            unsafe { _mm512_storeu_si512(lanes.as_mut_ptr().cast(), own) };
            sums.iter_mut().zip(lanes).for_each(|(sum, own)| *sum += own);
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load512(tile: &Tile) -> __m512i {
        // SAFETY: a tile has the 64 bytes that are read; this instruction asks for no alignment.
        unsafe { _mm512_loadu_si512(tile.0.as_ptr().cast()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::{kernel::Kernel, matrix::Matrix};
    use proptest::prelude::*;

    /// Often as far from zero as can be.
    fn bytes(least: i8, count: usize) -> impl Strategy<Value = Vec<i8>> {
        prop::collection::vec(prop_oneof![Just(least), Just(127), least..=127], count)
    }

    /// Parts, rows, columns, weights, inputs.
    fn cases() -> impl Strategy<Value = (usize, [usize; 2], Vec<i8>, Vec<i8>)> {
        (1_usize..4, 1_usize..9, 1_usize..20).prop_flat_map(|(parts, bands, tiles)| {
            let (rows, columns) = (bands * ROWS, tiles * COLUMNS);
            (Just(parts), Just([rows, columns]), bytes(-127, parts * rows * columns), bytes(-128, parts * columns))
        })
    }

    proptest! {
        #[test]
        fn all_kernels_multiply((parts, [rows, columns], weights, x) in cases(), begin in -1 << 30..1 << 30) {
            let matrix = Matrix::new(&weights, columns);
            let expected: Vec<i32> = (0..parts * rows)
                .map(|row| {
                    let x = &x[row / rows * columns..][..columns];
                    let products = weights[row * columns..].iter().zip(x).map(|(&w, &x)| i32::from(w) * i32::from(x));
                    begin + products.sum::<i32>()
                })
                .collect();
            for lanes in Kernel::ALL.into_iter().filter_map(Lanes::new) {
                let mut sums = vec![begin; parts * rows];
                products(lanes, matrix.tiles(), &x, &mut sums, parts);
                prop_assert_eq!(&sums, &expected);
            }
            let mut row = vec![0; columns];
            matrix.row(rows - 1, &mut row);
            prop_assert_eq!(&row, &weights[(rows - 1) * columns..rows * columns]);
        }
    }
}
