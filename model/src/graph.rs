//! One ONNX graph with its states: tensors are allocated once, bound once, and swapped from frame to frame.

use std::path::{Path, PathBuf};

use ort::{
    AsPointer,
    memory::Allocator,
    session::{IoBinding, Session, builder::GraphOptimizationLevel},
    value::{Outlet, Tensor, ValueType},
};

use crate::{
    bundle::Bundle,
    error::ModelError,
    manifest::{Element, StateTensor, Tensor as Declared},
    onnx,
    runtime::Runtime,
    tensor_io::{self, Port},
};

/// Frames of one run at most, where the graph takes any number. More are hardly faster.
const MOST: usize = 32;

/// A graph that is run over one frame after another, or over a few at once.
///
/// States are double-buffered: binding 0 reads set 0 and writes set 1, binding 1 the reverse. Using them in turn feeds
/// each run's states into the next without copying or rebinding anything, and leaves those before a run where they are, so
/// that it can be undone.
pub(crate) struct Graph {
    // The bindings point into the session and the tensors. Each holds its own reference to both (ort keeps them alive),
    // so the order of fields does not matter.
    /// What was made for each number of frames that was asked for so far.
    runs: Vec<Run>,
    /// The one that was chosen last.
    at: usize,
    session: Session,
    states: [Vec<Tensor<f32>>; 2],
    turn: usize,
    most: usize,
    inputs: Vec<Declared>,
    output: Declared,
    names: Vec<StateTensor>,
    file: PathBuf,
}

/// Tensors for so many frames.
struct Run {
    frames: usize,
    bindings: [IoBinding; 2],
    inputs: Vec<Port>,
    output: Port,
}

impl Graph {
    /// Loads a graph of the bundle and checks its inputs and outputs against what the manifest declares.
    pub(crate) fn load(
        runtime: &Runtime,
        bundle: &Bundle,
        name: &str,
        inputs: &[&Declared],
        output: &Declared,
        states: &[StateTensor],
    ) -> Result<Self, ModelError> {
        let file = bundle.folder().join(name);
        let bytes = bundle.read(name)?;
        let failed = |reason: String| ModelError::Graph { file: file.clone(), reason };
        let session = open_session(runtime, &file, &bytes)?;
        drop(bytes);

        check_ports(&file, &session, inputs, output, states)?;
        let set = || states.iter().map(|state| zeros(&state.shape)).collect::<ort::Result<Vec<_>>>();
        let sets = set().and_then(|first| Ok([first, set()?])).map_err(|error| failed(error.to_string()))?;
        // What is told of the frames beside what they are may be one for all of them.
        let open = inputs.iter().copied().take(1).chain([output]).all(Declared::is_open);
        let mut graph = Self {
            runs: Vec::new(),
            at: 0,
            session,
            states: sets,
            turn: 0,
            most: if open { MOST } else { 1 },
            inputs: inputs.iter().copied().cloned().collect(),
            output: output.clone(),
            names: states.to_vec(),
            file: file.clone(),
        };
        graph.choose(1)?;
        if graph.most > 1 {
            // Whether the open dimensions are what the manifest says shows only now.
            graph.run().map_err(|error| {
                let reason = error.to_string();
                let reason = reason.lines().next().unwrap_or_default().trim();
                failed(format!("it does not take a frame as the manifest declares it: {reason}"))
            })?;
            graph.reset();
        }
        Ok(graph)
    }

    /// How many frames a run can take.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// Makes all that runs of up to so many frames need, and forgets everything heard so far.
    pub(crate) fn prepare(&mut self, frames: usize) -> Result<(), ModelError> {
        for frames in 1..=frames.clamp(1, self.most) {
            self.choose(frames)?;
            self.run()?;
        }
        self.reset();
        Ok(())
    }

    /// Chooses how many frames the next run is of: 1 to [`most`](Self::most). Allocates for a number that is new.
    pub(crate) fn choose(&mut self, frames: usize) -> Result<(), ModelError> {
        if self.runs.get(self.at).is_some_and(|run| run.frames == frames) {
            return Ok(());
        }
        let known = self.runs.iter().position(|run| run.frames == frames);
        self.at = match known {
            Some(at) => at,
            None => {
                let run = self
                    .bind(frames)
                    .map_err(|error| ModelError::Graph { file: self.file.clone(), reason: error.to_string() })?;
                self.runs.push(run);
                self.runs.len() - 1
            }
        };
        Ok(())
    }

    fn bind(&mut self, frames: usize) -> ort::Result<Run> {
        let sized = |tensor: &Declared| Port::zeros(tensor.element, tensor.shape_for(frames));
        let inputs = self.inputs.iter().map(sized).collect::<ort::Result<Vec<_>>>()?;
        let mut output = sized(&self.output)?;
        let mut bindings = [self.session.create_binding()?, self.session.create_binding()?];
        for (turn, binding) in bindings.iter_mut().enumerate() {
            for (declared, tensor) in self.inputs.iter().zip(&inputs) {
                tensor.bind_input(binding, &declared.name)?;
            }
            output.bind_output(binding, &self.output.name)?;
            for (state, tensor) in self.names.iter().zip(&self.states[turn]) {
                binding.bind_input(&state.input, tensor)?;
            }
            for (state, tensor) in self.names.iter().zip(&mut self.states[1 - turn]) {
                binding.bind_output(&state.output, tensor)?;
            }
        }
        Ok(Run { frames, bindings, inputs, output })
    }

    /// The values of input number `index`, of all frames of the run, to be filled before [`run`](Self::run).
    pub(crate) fn input_mut(&mut self, index: usize) -> &mut [f32] {
        self.runs[self.at].inputs[index].floats_mut()
    }

    /// The same, of an input that takes codes.
    pub(crate) fn codes_mut(&mut self, index: usize) -> &mut [i64] {
        self.runs[self.at].inputs[index].codes_mut()
    }

    /// What the last run of so many frames as are chosen put out.
    pub(crate) fn output(&self) -> &[f32] {
        self.runs[self.at].output.floats()
    }

    /// The same, if it was codes.
    pub(crate) fn codes(&self) -> &[i64] {
        self.runs[self.at].output.codes()
    }

    /// Where it lies.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Runs the graph over the inputs and the current states. Does not allocate on the Rust side.
    pub(crate) fn run(&mut self) -> Result<(), ModelError> {
        let binding = &self.runs[self.at].bindings[self.turn];
        // `Session::run_binding` would build a list of the outputs on the heap, which we have no use for: we hold them.
        // SAFETY: `session` and `binding` are live for the length of the call, and the binding was made by this session
        // (`bind`). Its tensors live as long as the binding, which holds a reference to each. `&mut self` means that
        // nobody else reads or writes them, and that no other thread runs this binding, meanwhile. Null run options
        // mean the defaults (onnxruntime_c_api.h, `RunWithBinding`).
        let status =
            unsafe { (ort::api().RunWithBinding)(self.session.ptr().cast_mut(), std::ptr::null(), binding.ptr()) };
        // SAFETY: `status` was just returned by that call and nobody else has seen it; ownership passes on here.
        unsafe { ort::Error::result_from_status(status) }
            .map_err(|error| ModelError::Graph { file: self.file.clone(), reason: error.to_string() })?;
        self.turn = 1 - self.turn;
        Ok(())
    }

    /// Takes the last run back, as if it had not been: its states were written where the ones before were not. Not twice in a
    /// row.
    pub(crate) fn undo(&mut self) {
        self.turn = 1 - self.turn;
    }

    /// Forgets everything heard so far.
    pub(crate) fn reset(&mut self) {
        for tensor in self.states.iter_mut().flatten() {
            tensor.extract_tensor_mut().1.fill(0.0);
        }
    }
}

fn zeros(shape: &[i64]) -> ort::Result<Tensor<f32>> {
    let mut tensor = Tensor::<f32>::new(&Allocator::default(), shape.to_vec())?;
    tensor.extract_tensor_mut().1.fill(0.0);
    Ok(tensor)
}

/// Checks a graph's inputs and outputs against what the manifest declares.
pub(crate) fn check_ports(
    file: &Path,
    session: &Session,
    inputs: &[&Declared],
    output: &Declared,
    states: &[StateTensor],
) -> Result<(), ModelError> {
    let port = |tensor: &'_ Declared| (tensor.name.clone(), tensor.shape.clone(), tensor.element);
    let state = |name: &str, state: &StateTensor| (name.to_owned(), state.shape.clone(), Element::Float);
    let wanted_in = inputs.iter().map(|tensor| port(tensor));
    let wanted_in: Vec<_> = wanted_in.chain(states.iter().map(|s| state(&s.input, s))).collect();
    let wanted_out = [port(output)].into_iter();
    let wanted_out: Vec<_> = wanted_out.chain(states.iter().map(|s| state(&s.output, s))).collect();
    check_outlets(file, "input", session.inputs(), &wanted_in)?;
    check_outlets(file, "output", session.outputs(), &wanted_out)
}

/// A session of a graph's bytes, if they are all that it is made of.
pub(crate) fn open_session(runtime: &Runtime, file: &Path, bytes: &[u8]) -> Result<Session, ModelError> {
    onnx::check_whole(file, bytes)?;
    commit(runtime, bytes).map_err(|reason| ModelError::Graph { file: file.to_owned(), reason })
}

fn commit(runtime: &Runtime, bytes: &[u8]) -> Result<Session, String> {
    let text = |error: ort::Error<_>| error.to_string();
    // One thread: a frame takes well under a millisecond, less than it costs to wake another core for a part of it.
    let mut builder = Session::builder(runtime.environment())
        .map_err(|error| error.to_string())?
        .with_intra_threads(1)
        .map_err(text)?
        .with_inter_threads(1)
        .map_err(text)?
        .with_optimization_level(GraphOptimizationLevel::All)
        .map_err(text)?
        // Weights that are stored in bytes become floats once, here, and not in every run.
        .with_quant_qdq(false)
        .map_err(text)?;
    builder.commit_from_memory(bytes).map_err(|error| error.to_string())
}

fn check_outlets(
    file: &Path,
    side: &str,
    found: &[Outlet],
    wanted: &[(String, Vec<i64>, Element)],
) -> Result<(), ModelError> {
    let mismatch = |field: String, expected: String, found: String| {
        Err(ModelError::Mismatch { file: file.to_owned(), field, expected, found })
    };
    let names = |names: Vec<&str>| format!("[{}]", names.join(", "));
    let mut found_names: Vec<&str> = found.iter().map(Outlet::name).collect();
    let mut wanted_names: Vec<&str> = wanted.iter().map(|(name, ..)| name.as_str()).collect();
    found_names.sort_unstable();
    wanted_names.sort_unstable();
    if found_names != wanted_names {
        return mismatch(format!("the list of {side}s"), names(wanted_names), names(found_names));
    }
    for (name, shape, element) in wanted {
        let Some(outlet) = found.iter().find(|outlet| outlet.name() == name) else { continue };
        let (element, described) = tensor_io::described(*element);
        match outlet.dtype() {
            ValueType::Tensor { ty, shape: actual, .. } if *ty == element => {
                // -1 is a dimension that the graph leaves open: ours fits it.
                let fits = actual.len() == shape.len() && actual.iter().zip(shape).all(|(&a, &w)| a == w || a == -1);
                if !fits {
                    return mismatch(
                        format!("the shape of {side} {name}"),
                        format!("{shape:?}"),
                        format!("{actual:?}"),
                    );
                }
            }
            other => {
                return mismatch(format!("the type of {side} {name}"), described.to_owned(), format!("{other:?}"));
            }
        }
    }
    Ok(())
}

impl std::fmt::Debug for Graph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Graph").field("file", &self.file).finish_non_exhaustive()
    }
}
