"""Which methods a run may name, and what they are in the domain that it learns in."""

import torch

from mygo_edge.domains.domain import Domain
from mygo_edge.domains.features import Features
from mygo_edge.learn.features.exact import ExactMyGO
from mygo_edge.learn.features.rival_methods import FinetuneMethod, RivalMethod
from mygo_edge.learn.method import Method
from mygo_edge.learn.pixels.methods import Finetune, Frozen, Joint, MyGO, Network
from mygo_edge.learn.pixels.reference import Reference
from mygo_edge.options import TrainOptions

NETWORKS: dict[str, type[Network]] = {kind.name: kind for kind in (MyGO, Finetune, Frozen, Joint, Reference)}
ON_FEATURES: dict[str, type[ExactMyGO] | type[FinetuneMethod]] = {
    kind.name: kind for kind in (ExactMyGO, FinetuneMethod)
}


def new_method(name: str, domain: Domain, options: TrainOptions, device: torch.device) -> Method:
    """A method that knows nothing yet."""
    if not isinstance(domain, Features):
        return NETWORKS[name](domain, options, device)  # type: ignore[arg-type]
    if name in ON_FEATURES:
        return ON_FEATURES[name](domain, options, device)
    return RivalMethod(name, domain, options, device)


def looks_back(name: str, domain: str) -> bool:
    """Whether a method, in the domain of that name, needs the data of old tasks when a run goes on."""
    kinds = ON_FEATURES if domain == Features.name else NETWORKS
    return kinds.get(name, RivalMethod).looks_back
