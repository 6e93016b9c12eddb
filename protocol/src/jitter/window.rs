/// The least of the last `N` values.
#[derive(Debug, Clone, Copy)]
pub(super) struct LeastOf<const N: usize> {
    values: [i64; N],
    count: usize,
    next: usize,
}

impl<const N: usize> LeastOf<N> {
    pub(super) const EMPTY: Self = Self { values: [0; N], count: 0, next: 0 };

    /// Takes in a value; the least of it and the last `N - 1`.
    pub(super) fn push(&mut self, value: i64) {
        self.values[self.next] = value;
        self.next = (self.next + 1) % N;
        self.count = (self.count + 1).min(N);
    }

    /// The least, once there are `N` values; before that `None`.
    pub(super) fn full_least(&self) -> Option<i64> {
        if self.count == N { self.values.iter().copied().min() } else { None }
    }

    /// The least, or `None` if there is no value.
    pub(super) fn least(&self) -> Option<i64> {
        self.values[..self.count].iter().copied().min()
    }

    /// Subtracts from all values.
    pub(super) fn lower(&mut self, by: i64) {
        for value in &mut self.values {
            *value = value.saturating_sub(by);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_least_of_the_last_ones() {
        let mut window = LeastOf::<3>::EMPTY;
        assert_eq!((window.least(), window.full_least()), (None, None));
        for (value, least) in [(5, 5), (7, 5), (9, 5), (8, 7), (10, 8), (3, 3)] {
            window.push(value);
            assert_eq!(window.least(), Some(least));
        }
        window.lower(3);
        assert_eq!(window.full_least(), Some(0));
    }
}
