//! Which instructions the entropy model is computed with. The numbers are the same with all of them.

mod product;

pub(super) use product::products;

/// A set of instructions. All give the same integers; they differ in speed alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kernel {
    /// What the compiler makes of plain arithmetic for any processor of the architecture.
    Portable,
    /// x86-64 with AVX2: vectors of 256 bits.
    Avx2,
    /// x86-64 with AVX-512 (F, BW, DQ, VL) and its neural network instructions (VNNI).
    Avx512Vnni,
}

impl Kernel {
    /// All there are, slowest first.
    pub const ALL: [Self; 3] = [Self::Portable, Self::Avx2, Self::Avx512Vnni];

    /// The fastest that this processor has.
    pub fn best() -> Self {
        Self::ALL.into_iter().rfind(|kernel| kernel.is_available()).unwrap_or(Self::Portable)
    }

    /// Whether this processor has it.
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512Vnni => false,
        }
    }
}

/// A kernel that this processor has: none other is ever in here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lanes(Kernel);

impl Lanes {
    /// `None` if the processor lacks it.
    pub(super) fn new(kernel: Kernel) -> Option<Self> {
        kernel.is_available().then_some(Self(kernel))
    }

    pub(super) fn kernel(self) -> Kernel {
        self.0
    }
}

/// A function of plain arithmetic, compiled once for each kernel, which is the first argument of the function made.
macro_rules! for_each_kernel {
    ($(#[$about:meta])* fn $name:ident($($argument:ident: $kind:ty),* $(,)?) $(-> $result:ty)? $body:block) => {
        $(#[$about])*
        pub(super) fn $name(lanes: crate::entropy::kernel::Lanes, $($argument: $kind),*) $(-> $result)? {
            #[inline(always)]
            fn plain($($argument: $kind),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2")]
            fn avx2($($argument: $kind),*) $(-> $result)? {
                plain($($argument),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
            fn avx512($($argument: $kind),*) $(-> $result)? {
                plain($($argument),*)
            }

            match lanes.kernel() {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: `Lanes` holds this kernel only if the processor has the feature, as `Lanes::new` sees to.
                crate::entropy::kernel::Kernel::Avx2 => unsafe { avx2($($argument),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above; `Kernel::is_available` asks for each of these features.
                crate::entropy::kernel::Kernel::Avx512Vnni => unsafe { avx512($($argument),*) },
                _ => plain($($argument),*),
            }
        }
    };
}
pub(super) use for_each_kernel;
