"""Every option of a run, its default, its unit and its meaning: one tree of dataclasses. Imports nothing heavy.

The command line is made from this tree (`mygo_edge.train`), and config.json holds it as used.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from mygo_edge.data.text_options import TextOptions
from mygo_edge.kernels import Backend
from mygo_edge.trunks.options import TrunkOptions

try:
    from tyro.conf import arg
except ModuleNotFoundError:  # the options are as good without a command line

    def arg(**_: Any) -> Any:  # type: ignore[no-redef]
        return None


def named(name: str) -> Any:
    """Lets the command line call a part of the tree otherwise: --trunk.size beside --trunk."""
    return arg(name=name)


StepMode = Literal["auto", "eager", "compile", "graph"]
Method = Literal["mygo", "finetune", "frozen", "joint", "reference", "ncm", "slda", "fecam", "ranpac"]
Preset = Literal["fast", "default", "best"]
Dataset = Literal[
    "digits",
    "mnist",
    "fashion-mnist",
    "kmnist",
    "emnist",
    "cifar10",
    "cifar100",
    "svhn",
    "folder",
    "text",
    "ag-news",
    "arrays",
]  # "folder" and "text" are the user's own, "arrays" is what a program gives to `Learner.learn`
GeneratorKind = Literal["convolutional", "perceptron"]
MemoryKind = Literal["auto", "convolutional", "perceptron", "gaussian"]
SleepForm = Literal["auto", "exact", "sampled"]
PriorKind = Literal["auto", "0", "0.5", "1"]
METHODS: tuple[str, ...] = get_args(Method)
# In the feature space of a trunk: all that learn there, the table of a run's end shows them side by side.
TRUNK_METHODS: tuple[Method, ...] = ("mygo", "finetune", "ncm", "slda", "fecam", "ranpac", "joint")
VECTOR_METHODS: tuple[Method, ...] = ("mygo", "finetune", "frozen", "joint")  # with a GAN of a trunk's vectors
PIXEL_METHODS: tuple[Method, ...] = ("mygo", "finetune", "frozen", "joint", "reference")
PRESETS: tuple[str, ...] = get_args(Preset)
DATASETS: tuple[str, ...] = get_args(Dataset)


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderOptions:
    """How `--dataset folder` reads images."""

    size: int = 28
    """Height and width, in pixels, that every image is resized to."""
    colour: Literal["grey", "rgb"] = "rgb"
    """Convert every image to this."""
    unreadable: Literal["refuse", "skip"] = "refuse"
    """What to do with an image that cannot be read: stop and name it, or name it and go on."""
    test_fraction: float = 0.2
    """Share of each class kept for testing, when the folder has no train/ and test/ of its own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WakeOptions:
    """Learning a task while its data is there: the head, and the expert."""

    epochs: int = 3
    """Passes over the task's images."""
    min_steps: int = 200
    """At least this many steps of a batch, however small the task."""
    batch_size: int = 128
    """Images a step."""
    learning_rate: float = 2e-3
    """Peak of the one-cycle schedule."""
    shift: float = 0.07
    """Random shifts of the images, up to this share of their side (2 pixels of 28)."""
    expert: bool = True
    """Fine-tune a temporary copy of features and head on the task. Without it, the teacher of the new task is the
    head on frozen features."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryOptions:
    """What memorises a task: a class-conditional GAN, or Gaussians of a trunk's vectors."""

    epochs: int = 5
    """Passes over the task's images."""
    min_steps: int = 700
    """At least this many steps of a batch, however small the task."""
    max_steps: int = 20000
    """At most this many steps of a batch, however large the task."""
    batch_size: int = 64
    """Real images a step; as many are dreamt."""
    learning_rate: float = 1.2e-3
    """Adam's, for generator and discriminator."""
    ema: float = 0.98
    """Decay of the generator's moving average, the one that is kept."""
    generator: MemoryKind = "auto"
    """What remembers a task. gaussian: class means and a shared covariance, of vectors of a --trunk, and what auto is
    there. convolutional: a GAN of images, and what auto is without a trunk of any kind. perceptron: the same with one
    hidden layer, which dreams faster and remembers less; with a --trunk it is a GAN of vectors, which devices do not
    take."""
    rank: int = 64
    """Of Gaussians above a trunk: in how many directions devices know how features of a class vary together, to dream
    and to learn by. A factor takes so many bytes a feature; texts choose their own."""
    power: float = 0.5
    """Of Gaussians above a trunk: features of pictures are raised to this power first, signed where any is negative, so
    that they are nearer to normal; 1 takes them as they are."""
    width: int = 64
    """Channels of the generator where it is widest, or units of the perceptron (twice as many for colour)."""
    restarts: int = 2
    """How often a GAN that diverges or collapses starts again, with another seed and half the learning rate."""
    gaussians: float = 0.5
    """Share of a sleep's dreams that come from a few Gaussians a class, fitted beside the GAN: they cover what a GAN
    leaves out, and take its place where it fails. They stay on this machine. 0 does without them."""
    reuse: Path | None = None
    """Take the generators of this run's folder instead of training them again, to study the sleep. It must have the
    same dataset, tasks, seed and memory options."""

    @property
    def network(self) -> GeneratorKind:
        """The architecture of a GAN's generator."""
        return "perceptron" if self.generator == "perceptron" else "convolutional"


@dataclass(frozen=True, kw_only=True, slots=True)
class SleepOptions:
    """Consolidation: distillation of old and new knowledge into shared features and all heads, from dreams alone."""

    form: SleepForm = "auto"
    """exact: the minimum over infinitely many dreams, in closed form, of vectors of a --trunk, and what auto is there.
    sampled: steps on dreams, and what auto is without a trunk of any kind; with one, a linear student of the exact
    teacher, whose answers the run measures (devices consolidate exactly)."""
    prior: PriorKind = "auto"
    """How much it counts for a class of photos that it was frequent in training, with a --trunk and classes of uneven
    size: 0 takes all classes for equally likely, 1 for as frequent as they were. auto is 1, and 0 for texts."""
    enabled: bool = True
    """Without sleep the shared features never change."""
    steps: int = 600
    """Steps a sleep."""
    dreams_per_task: int = 32
    """Dreams of every task a step."""
    batch_size: int | None = None
    """Dreams a step of all tasks together, instead of --sleep.dreams-per-task of each: the cost of a step then does
    not grow with the tasks. They are divided evenly, and every task counts alike."""
    ahead_megabytes: float = 32.0
    """Memory for dreams, and teachers' answers to them, that are made ahead for many steps at once; 0 makes every
    step's when it comes. In megabytes (10^6 bytes)."""
    learning_rate: float = 2e-3
    """Peak of the one-cycle schedule."""
    teacher: Literal["expert", "published"] = "expert"
    """expert: the old network for old tasks, the expert for the new one. published: a copy of the student itself, as
    in the published code, which makes every loss zero."""
    other_heads: float = 1.0
    """Weight of the squared error over all heads; 0 trains each dream's own head only, without --sleep.task-entropy."""
    task_entropy: float = 5.0
    """Weight of the cross-entropy of whose dream it is, by the softmax over all heads: it tells tasks apart better;
    more costs some of what is known with the task given. --preset fast does without."""
    other_target: float = -8.0
    """What the logits of a head of another task should be on average."""
    calibrate: bool = True
    """Fit anew, on dreams after the last step, what tells heads from each other when the task is unknown. It changes no
    answer with the task known."""
    logit_limit: float = 10.0
    """Teachers' logits, centred, are clipped to plus or minus this."""
    shift: float = 0.07
    """Random shifts of the dreams, the same for teacher and student, as a share of their side."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasureOptions:
    """Evaluation: never feeds the learning."""

    dreams: bool = True
    """Measure label fidelity and classification accuracy score (the latter after the last task)."""
    dreams_per_class: int = 1000
    """Dreams a class for label fidelity."""
    score_steps: int = 1000
    """Steps of training the fresh classifier of the classification accuracy score, at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishOptions:
    """What devices get after every sleep."""

    precision: Literal["int8-weights", "int8", "fp16", "fp32"] = "int8-weights"
    """Of classifier and generators: weights in int8, computed with in fp32 or (int8) in integers; halves; or as they
    were learnt. What a trunk remembers is small already, and stays as it is."""
    max_loss: float = 0.005
    """How much of its accuracy or of its dreams' fidelity a smaller precision may lose on dreams, a fraction; where it
    loses more, fp32 is published. What a classifier above a trunk loses, whose rows are always in int8, is said."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainOptions:
    """Learn tasks one after another in wake-sleep cycles, beside baselines; publish a bundle for devices.

    --config FILE.toml reads options from a file, a table a group; those on the command line go over them."""

    dataset: Dataset = "digits"
    """digits is embedded; folder is your own images, text your own texts; ag-news is AG News (7.6k) in torchtext's
    layout; arrays is what a program gave to Learner.learn; the others are torchvision's. All but digits are read from
    --data-root."""
    data_root: Path | None = None
    """Folder that holds the dataset, or a file of texts."""
    trunk: str | None = None
    """Learn in the feature space of this frozen network: efficientnet-lite0, mobilenet_v3_small, resnet18 and others
    for photos of any size, static-256 or minilm for texts, or a FILE.onnx; or patches: filters made of the first task's
    own small images, where there is no network for such. Without it, images of 16 pixels and more by patches, unless
    something is asked for that takes pixels (--preset fast of 2,000 grey ones a class or more does); others as they
    are."""
    download: bool = False
    """Fetch a torchvision dataset into --data-root when it is not there."""
    tasks: str = "5"
    """Number of tasks of equally many classes, in label order, or explicit groups of class indices: 0,1/2,3/4,5,6."""
    task_names: str | None = None
    """Names of the tasks, in order: hands,feet. Without them task0, task1, ..., counted on."""
    methods: tuple[Method, ...] = ("mygo", "finetune")
    """Methods to run side by side. frozen: random features (the floor). joint: all data at once (the upper bound).
    reference: the published algorithm. ncm, slda, fecam, ranpac: rivals on the features of a trunk, where all of these
    run unless others are named."""
    preset: Preset = "default"
    """Trade time for quality where GANs learn pixels; sets the defaults of other options, which --help then shows.
    Above a trunk or patches it changes nothing, but that fast takes a GAN of many grey images, which is sooner."""
    out: Path | None = None
    """The run's folder; when not given, the first of runs/DATASET, runs/DATASET-2, ... that does not exist."""
    resume: Path | None = None
    """Go on with the run in this folder, to the same result. Options of wake, memory, sleep and so on may be given
    anew, for what is not learnt yet; every other option comes from the run."""
    extend: Path | None = None
    """Learn further tasks into the finished run in this folder: --dataset, --data-root and --tasks say which; options
    that are not given are the run's."""
    forget: tuple[str, Path] | None = None
    """Let the learner of a finished run forget a task, and consolidate what stays: --forget TASK RUN."""
    seed: int = 0
    """The same seed on the same machine gives the same result."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to learn."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of training. bf16 is mixed precision, on CUDA or on processors with matrix instructions for it (AMX).
    auto takes it on such processors, for GANs and sleeps: their steps take less time, what they learn is as good."""
    backend: Backend = "auto"
    """Which kernels dream: PyTorch's or Triton's (CUDA only). auto takes Triton on CUDA where it is
    installed; the variable MYGO_EDGE_BACKEND decides where this option is auto."""
    step: StepMode = "auto"
    """How training steps run. graph: captured in a CUDA graph; compile: losses through torch.compile; eager: plainly.
    auto is graph on CUDA, where it can be, and eager on a CPU. None changes what is computed."""
    checkpoint_seconds: float = 30.0
    """Time between two checkpoints within a phase, in seconds."""
    csv: bool = False
    """Write all accuracies to accuracies.csv in the run's folder, too."""
    tensorboard: bool = False
    """Write losses and accuracies to tensorboard/ in the run's folder, too (pip install tensorboard)."""
    folder: FolderOptions = field(default_factory=FolderOptions)
    trunk_input: Annotated[TrunkOptions, named("trunk")] = field(default_factory=TrunkOptions)
    text: TextOptions = field(default_factory=TextOptions)
    wake: WakeOptions = field(default_factory=WakeOptions)
    memory: MemoryOptions = field(default_factory=MemoryOptions)
    sleep: SleepOptions = field(default_factory=SleepOptions)
    measure: MeasureOptions = field(default_factory=MeasureOptions)
    publish: PublishOptions = field(default_factory=PublishOptions)


def preset_defaults(preset: str, dataset: str = "digits") -> TrainOptions:
    """The tree with a preset's defaults for a dataset; options given on the command line go over them."""
    if preset == "fast":
        return TrainOptions(
            preset="fast",
            wake=WakeOptions(epochs=2, min_steps=120),
            memory=MemoryOptions(epochs=2, min_steps=250, width=32, learning_rate=1.6e-3, ema=0.97),
            sleep=SleepOptions(steps=330, dreams_per_task=16, task_entropy=0.0, logit_limit=5.0),
        )
    if preset == "best":
        return TrainOptions(preset="best")  # the classes' own defaults
    if dataset == "digits":  # of 8 x 8 pixels: a step costs its calls, so few large ones
        return TrainOptions(
            wake=WakeOptions(min_steps=120),
            memory=MemoryOptions(epochs=4, min_steps=150, batch_size=200),
            sleep=SleepOptions(steps=400, logit_limit=5.0),
        )
    return TrainOptions(memory=MemoryOptions(epochs=4, min_steps=500), sleep=SleepOptions(steps=500))
