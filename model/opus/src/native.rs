//! libopus, behind safe functions. The only unsafe code of the crate.
//!
//! What holds for every call here: a handle is made by libopus itself, is never null, belongs to one owner, and is given
//! back once, when dropped. Calls go through `&mut self`, so no two run on one handle at a time. Pointers to bytes and
//! samples come from slices that outlive the call, with lengths that are the slices' own.
//!
//! libopus is built with its run-time checks: if one of them failed, on a packet that nobody has found yet, it would end
//! the program rather than touch memory that is not its own.

#![allow(unsafe_code)]

use std::{
    ffi::c_int,
    ops::Range,
    ptr::{self, NonNull},
};

use opusic_sys as sys;

use crate::{FRAME_SAMPLES, RATE, error::OpusError, frame::OpusFrame};

/// The rate and a frame's samples as libopus takes them.
const HERTZ: c_int = RATE as c_int;
const SAMPLES: c_int = FRAME_SAMPLES as c_int;

/// The decoder's complexity: from 5 on it conceals by a neural network, from 7 on NoLACE betters what is decoded. Without it
/// one hears the Opus of 2012.
const COMPLEXITY: c_int = 10;

/// The longest past that deep redundancy can carry, in samples: 1.04 s.
const PAST_SAMPLES: c_int = 104 * (HERTZ / 100);

/// `Ok` with what libopus returned, if that is no error.
fn checked(returned: c_int, doing: &'static str) -> Result<c_int, OpusError> {
    let reason = match returned {
        0.. => return Ok(returned),
        sys::OPUS_BAD_ARG => "an argument is not possible",
        sys::OPUS_BUFFER_TOO_SMALL => "the buffer is too small",
        sys::OPUS_INTERNAL_ERROR => "an internal error",
        sys::OPUS_INVALID_PACKET => "the packet is damaged",
        sys::OPUS_UNIMPLEMENTED => "this build of it cannot",
        sys::OPUS_INVALID_STATE => "its state is not valid",
        sys::OPUS_ALLOC_FAIL => "not enough memory",
        _ => "an error without a name",
    };
    Err(OpusError::Library { doing, reason })
}

/// A handle that libopus returned, or why it did not.
fn made<T>(handle: *mut T, returned: c_int, doing: &'static str) -> Result<NonNull<T>, OpusError> {
    checked(returned, doing)?;
    NonNull::new(handle).ok_or(OpusError::Library { doing, reason: "not enough memory" })
}

/// An encoder of libopus: 16 kHz mono.
pub(crate) struct Encoder(NonNull<sys::OpusEncoder>);

// SAFETY: an encoder is one allocation without ties to the thread that made it: libopus keeps no thread-local state
// in this build (no NONTHREADSAFE_PSEUDOSTACK), and its tables are constant.
unsafe impl Send for Encoder {}

impl Encoder {
    pub(crate) fn new() -> Result<Self, OpusError> {
        let mut error = sys::OPUS_OK;
        // SAFETY: rate, channels and application are among those that the function knows; `error` outlives the call.
        let handle = unsafe { sys::opus_encoder_create(HERTZ, 1, sys::OPUS_APPLICATION_VOIP, &raw mut error) };
        made(handle, error, "make an encoder").map(Self)
    }

    /// Changes a setting whose argument is one integer.
    pub(crate) fn set(&mut self, setting: Setting, value: c_int) -> Result<(), OpusError> {
        // SAFETY: every request of `Setting` reads one variadic argument, an opus_int32, which c_int is.
        let returned = unsafe { sys::opus_encoder_ctl(self.0.as_ptr(), setting as c_int, value) };
        checked(returned, "change a setting of the encoder").map(drop)
    }

    /// Samples that the decoder's audio is later than what went in.
    pub(crate) fn look_ahead(&mut self) -> Result<usize, OpusError> {
        let mut samples: sys::opus_int32 = 0;
        // SAFETY: the request writes one opus_int32 through its argument, a pointer that outlives the call.
        let returned =
            unsafe { sys::opus_encoder_ctl(self.0.as_ptr(), sys::OPUS_GET_LOOKAHEAD_REQUEST, &raw mut samples) };
        checked(returned, "tell its delay")?;
        Ok(usize::try_from(samples).unwrap_or(0))
    }

    /// As new, without any setting. (libopus' own reset was seen to leave something of the past.)
    pub(crate) fn reset(&mut self) -> Result<(), OpusError> {
        // SAFETY: the handle is of opus_encoder_create, which made room for an encoder of as many channels and the same
        // application; the function clears all of it and owns nothing outside.
        let returned = unsafe { sys::opus_encoder_init(self.0.as_ptr(), HERTZ, 1, sys::OPUS_APPLICATION_VOIP) };
        checked(returned, "reset the encoder").map(drop)
    }

    /// Encodes one frame into `out` and returns how many bytes it took.
    pub(crate) fn encode(&mut self, audio: &[f32; FRAME_SAMPLES], out: &mut [u8]) -> Result<usize, OpusError> {
        let room = c_int::try_from(out.len()).unwrap_or(c_int::MAX);
        // SAFETY: of one channel, `audio` holds the samples announced; at most `room` bytes are written, which `out` has.
        let returned =
            unsafe { sys::opus_encode_float(self.0.as_ptr(), audio.as_ptr(), SAMPLES, out.as_mut_ptr(), room) };
        checked(returned, "encode a frame").map(|bytes| bytes as usize)
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // SAFETY: made by opus_encoder_create, and given back only here.
        unsafe { sys::opus_encoder_destroy(self.0.as_ptr()) }
    }
}

/// What can be set with one integer.
#[derive(Clone, Copy)]
#[repr(i32)]
pub(crate) enum Setting {
    Bitrate = sys::OPUS_SET_BITRATE_REQUEST,
    VariableRate = sys::OPUS_SET_VBR_REQUEST,
    VariableRateConstraint = sys::OPUS_SET_VBR_CONSTRAINT_REQUEST,
    Bandwidth = sys::OPUS_SET_BANDWIDTH_REQUEST,
    Signal = sys::OPUS_SET_SIGNAL_REQUEST,
    Complexity = sys::OPUS_SET_COMPLEXITY_REQUEST,
    InbandFec = sys::OPUS_SET_INBAND_FEC_REQUEST,
    PacketLoss = sys::OPUS_SET_PACKET_LOSS_PERC_REQUEST,
    DredDuration = sys::OPUS_SET_DRED_DURATION_REQUEST,
}

/// A decoder of libopus: 16 kHz mono.
pub(crate) struct Decoder(NonNull<sys::OpusDecoder>);

// SAFETY: as for the encoder.
unsafe impl Send for Decoder {}

impl Decoder {
    pub(crate) fn new() -> Result<Self, OpusError> {
        let mut error = sys::OPUS_OK;
        // SAFETY: rate and channels are among those that the function knows; `error` outlives the call.
        let handle = unsafe { sys::opus_decoder_create(HERTZ, 1, &raw mut error) };
        let mut decoder = made(handle, error, "make a decoder").map(Self)?;
        decoder.use_all()?;
        Ok(decoder)
    }

    /// Switches all neural parts on.
    fn use_all(&mut self) -> Result<(), OpusError> {
        // SAFETY: the request reads one variadic argument, an opus_int32, which c_int is.
        let returned = unsafe { sys::opus_decoder_ctl(self.0.as_ptr(), sys::OPUS_SET_COMPLEXITY_REQUEST, COMPLEXITY) };
        checked(returned, "set the decoder's complexity").map(drop)
    }

    /// Decodes a frame's packet.
    pub(crate) fn decode(&mut self, frame: &OpusFrame, audio: &mut [f32; FRAME_SAMPLES]) -> Result<(), OpusError> {
        self.run(Some(frame), false, audio)
    }

    /// Decodes the frame before this one's out of the copy in this one's packet, if it has one; else makes it up.
    pub(crate) fn decode_copy(&mut self, later: &OpusFrame, audio: &mut [f32; FRAME_SAMPLES]) -> Result<(), OpusError> {
        self.run(Some(later), true, audio)
    }

    /// Makes up a frame.
    pub(crate) fn conceal(&mut self, audio: &mut [f32; FRAME_SAMPLES]) -> Result<(), OpusError> {
        self.run(None, false, audio)
    }

    fn run(
        &mut self,
        packet: Option<&OpusFrame>,
        copy: bool,
        audio: &mut [f32; FRAME_SAMPLES],
    ) -> Result<(), OpusError> {
        let (bytes, length) = match packet.map(OpusFrame::as_bytes) {
            Some(bytes) => (bytes.as_ptr(), bytes.len() as c_int),
            None => (ptr::null(), 0),
        };
        // SAFETY: no packet, as the function allows, or one with its own length; at most SAMPLES samples of one channel
        // are written, which `audio` has.
        let returned = unsafe {
            sys::opus_decode_float(self.0.as_ptr(), bytes, length, audio.as_mut_ptr(), SAMPLES, c_int::from(copy))
        };
        whole(returned, "decode a frame")
    }

    /// As new. (libopus' own reset was seen to leave something of the past.)
    pub(crate) fn reset(&mut self) -> Result<(), OpusError> {
        // SAFETY: the handle is of opus_decoder_create, which made room for a decoder of as many channels; the function
        // clears all of it and owns nothing outside.
        let returned = unsafe { sys::opus_decoder_init(self.0.as_ptr(), HERTZ, 1) };
        checked(returned, "reset the decoder")?;
        self.use_all()
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: made by opus_decoder_create, and given back only here.
        unsafe { sys::opus_decoder_destroy(self.0.as_ptr()) }
    }
}

/// A decoder of several streams.
pub(crate) struct MultiDecoder {
    handle: NonNull<sys::OpusMSDecoder>,
    /// As many as it was made for: how far it writes depends on them.
    channels: usize,
}

// SAFETY: as for the encoder.
unsafe impl Send for MultiDecoder {}

impl MultiDecoder {
    pub(crate) fn new(rate: u32, streams: u8, coupled: u8, mapping: &[u8]) -> Result<Self, OpusError> {
        const DOING: &str = "make a decoder";
        let (streams, coupled) = (c_int::from(streams), c_int::from(coupled));
        let possible = crate::FILE_RATES.contains(&rate) && (1..=255).contains(&mapping.len());
        if !possible || streams < 1 || coupled > streams || streams + coupled > 255 {
            return Err(OpusError::Library { doing: DOING, reason: "an argument is not possible" });
        }
        let mut error = sys::OPUS_OK;
        // SAFETY: the function reads as many bytes of the mapping as there are channels, which are all of it, checks each against the
        // streams, and copies them; `error` outlives the call.
        let handle = unsafe {
            sys::opus_multistream_decoder_create(
                rate as sys::opus_int32,
                mapping.len() as c_int,
                streams,
                coupled,
                mapping.as_ptr(),
                &raw mut error,
            )
        };
        Ok(Self { handle: made(handle, error, DOING)?, channels: mapping.len() })
    }

    /// Decodes a packet into `out`, the channels interleaved; gives the samples of each.
    pub(crate) fn decode(&mut self, packet: &[u8], out: &mut [f32]) -> Result<usize, OpusError> {
        let length = c_int::try_from(packet.len()).unwrap_or(c_int::MAX);
        let room = c_int::try_from(out.len() / self.channels).unwrap_or(c_int::MAX);
        // SAFETY: a packet with its own length (or less, if it were beyond what fits an integer); at most `room` samples of each
        // of the channels that it was made for (one at least, as `new` saw) are written, which `out` has.
        let returned = unsafe {
            sys::opus_multistream_decode_float(self.handle.as_ptr(), packet.as_ptr(), length, out.as_mut_ptr(), room, 0)
        };
        checked(returned, "decode a packet").map(|samples| samples as usize)
    }

    pub(crate) fn reset(&mut self) -> Result<(), OpusError> {
        // SAFETY: the request takes no argument.
        let returned = unsafe { sys::opus_multistream_decoder_ctl(self.handle.as_ptr(), sys::OPUS_RESET_STATE) };
        checked(returned, "reset the decoder").map(drop)
    }
}

impl Drop for MultiDecoder {
    fn drop(&mut self) {
        // SAFETY: made by opus_multistream_decoder_create, and given back only here.
        unsafe { sys::opus_multistream_decoder_destroy(self.handle.as_ptr()) }
    }
}

/// An encoder of one channel at any rate that Opus knows.
pub(crate) struct MultiEncoder(Encoder);

impl MultiEncoder {
    pub(crate) fn new(rate: u32, bitrate: u32) -> Result<Self, OpusError> {
        const DOING: &str = "make an encoder";
        if !crate::FILE_RATES.contains(&rate) {
            return Err(OpusError::Library { doing: DOING, reason: "an argument is not possible" });
        }
        let mut error = sys::OPUS_OK;
        // SAFETY: rate, channels and application are among those that the function knows; `error` outlives the call.
        let handle = unsafe {
            sys::opus_encoder_create(rate as sys::opus_int32, 1, sys::OPUS_APPLICATION_AUDIO, &raw mut error)
        };
        let mut encoder = Self(made(handle, error, DOING).map(Encoder)?);
        encoder.0.set(Setting::Bitrate, c_int::try_from(bitrate).unwrap_or(c_int::MAX))?;
        encoder.0.set(Setting::VariableRate, 1)?;
        encoder.0.set(Setting::Complexity, COMPLEXITY)?;
        Ok(encoder)
    }

    pub(crate) fn look_ahead(&mut self) -> Result<usize, OpusError> {
        self.0.look_ahead()
    }

    /// Encodes one frame into `out` and returns how many bytes it took.
    pub(crate) fn encode(&mut self, audio: &[f32], out: &mut [u8]) -> Result<usize, OpusError> {
        let samples = c_int::try_from(audio.len()).unwrap_or(c_int::MAX);
        let room = c_int::try_from(out.len()).unwrap_or(c_int::MAX);
        // SAFETY: of one channel, `audio` holds the samples announced; at most `room` bytes are written, which `out` has.
        let returned =
            unsafe { sys::opus_encode_float(self.0.0.as_ptr(), audio.as_ptr(), samples, out.as_mut_ptr(), room) };
        checked(returned, "encode a frame").map(|bytes| bytes as usize)
    }
}

/// `Ok` if a whole frame was written.
fn whole(returned: c_int, doing: &'static str) -> Result<(), OpusError> {
    if checked(returned, doing)? == SAMPLES {
        Ok(())
    } else {
        Err(OpusError::Library { doing, reason: "it does not last 20 ms" })
    }
}

/// Whether the packet has a copy of the frame before its own (RFC 6716 section 2.1.7).
pub(crate) fn has_copy(later: &OpusFrame) -> bool {
    let bytes = later.as_bytes();
    // SAFETY: a packet of at least one byte, with its own length; the function only reads, and checks the lengths inside.
    let returned = unsafe { sys::opus_packet_has_lbrr(bytes.as_ptr(), bytes.len() as c_int) };
    returned > 0
}

/// The deep redundancy of one packet.
pub(crate) struct Redundancy {
    decoder: NonNull<sys::OpusDREDDecoder>,
    found: NonNull<sys::OpusDRED>,
    /// Whether `found` holds what [`parse`](Self::parse) read. Before that it is raw memory.
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Nothing,
    Parsed,
    Processed,
}

// SAFETY: as for the encoder.
unsafe impl Send for Redundancy {}

impl Redundancy {
    pub(crate) fn new() -> Result<Self, OpusError> {
        let mut error = sys::OPUS_OK;
        // SAFETY: `error` outlives the call.
        let decoder = unsafe { sys::opus_dred_decoder_create(&raw mut error) };
        let decoder = made(decoder, error, "make a decoder of deep redundancy")?;
        // SAFETY: as above.
        let found = unsafe { sys::opus_dred_alloc(&raw mut error) };
        match made(found, error, "make room for deep redundancy") {
            Ok(found) => Ok(Self { decoder, found, stage: Stage::Nothing }),
            Err(error) => {
                // SAFETY: made by opus_dred_decoder_create; no owner has taken it.
                unsafe { sys::opus_dred_decoder_destroy(decoder.as_ptr()) };
                Err(error)
            }
        }
    }

    /// Reads the redundancy of a packet. Returns which samples before the packet's own it tells about, counted backwards:
    /// from the nearer end to the further. Empty if there is none.
    pub(crate) fn parse(&mut self, later: &OpusFrame) -> Result<Range<usize>, OpusError> {
        self.stage = Stage::Nothing;
        let bytes = later.as_bytes();
        let mut end: c_int = 0;
        // SAFETY: both handles are live and of their kind; a packet of at least one byte, with its own length; `end`
        // outlives the call.
        let returned = unsafe {
            sys::opus_dred_parse(
                self.decoder.as_ptr(),
                self.found.as_ptr(),
                bytes.as_ptr(),
                bytes.len() as c_int,
                PAST_SAMPLES,
                HERTZ,
                &raw mut end,
                1,
            )
        };
        let furthest = checked(returned, "read deep redundancy")?;
        if furthest > end {
            self.stage = Stage::Parsed;
        }
        Ok(usize::try_from(end).unwrap_or(0)..usize::try_from(furthest).unwrap_or(0))
    }

    /// Makes the frame that begins `samples_back` samples before the packet's own, out of what [`parse`](Self::parse)
    /// read last. Without anything read it is made up.
    pub(crate) fn decode(
        &mut self,
        decoder: &mut Decoder,
        samples_back: usize,
        audio: &mut [f32; FRAME_SAMPLES],
    ) -> Result<(), OpusError> {
        const DOING: &str = "decode deep redundancy";
        if self.stage == Stage::Nothing {
            return decoder.conceal(audio);
        }
        if self.stage == Stage::Parsed {
            // SAFETY: both handles are live; `found` was filled by opus_dred_parse, as the stage says; the function
            // allows that source and destination are one.
            let returned =
                unsafe { sys::opus_dred_process(self.decoder.as_ptr(), self.found.as_ptr(), self.found.as_ptr()) };
            checked(returned, DOING)?;
            self.stage = Stage::Processed;
        }
        let back = c_int::try_from(samples_back).unwrap_or(c_int::MAX).min(PAST_SAMPLES);
        // SAFETY: both handles are live; `found` was filled and processed, as the stage says; libopus checks the offset
        // against what is there, and it is too small to overflow; SAMPLES samples of one channel are written, which
        // `audio` has.
        let returned = unsafe {
            sys::opus_decoder_dred_decode_float(
                decoder.0.as_ptr(),
                self.found.as_ptr(),
                back,
                audio.as_mut_ptr(),
                SAMPLES,
            )
        };
        whole(returned, DOING)
    }
}

impl Drop for Redundancy {
    fn drop(&mut self) {
        // SAFETY: made by opus_dred_alloc and opus_dred_decoder_create, and given back only here.
        unsafe {
            sys::opus_dred_free(self.found.as_ptr());
            sys::opus_dred_decoder_destroy(self.decoder.as_ptr());
        }
    }
}
