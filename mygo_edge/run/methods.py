"""Which methods a run may name, and what they are in the domain that it learns in."""

import torch

from mygo_edge.domains.domain import Domain
from mygo_edge.domains.features import Features
from mygo_edge.learn.exact import ExactMyGO
from mygo_edge.learn.method import Method
from mygo_edge.learn.methods import Finetune, Frozen, Joint, MyGO, Network
from mygo_edge.learn.reference import Reference
from mygo_edge.learn.rival_methods import FinetuneMethod, RivalMethod
from mygo_edge.options import TrainOptions

NETWORKS: dict[str, type[Network]] = {kind.name: kind for kind in (MyGO, Finetune, Frozen, Joint, Reference)}


def new_method(name: str, domain: Domain, options: TrainOptions, device: torch.device) -> Method:
    """A method that knows nothing yet."""
    if isinstance(domain, Features):
        if name == ExactMyGO.name:
            return ExactMyGO(domain, options, device)
        if name == FinetuneMethod.name:
            return FinetuneMethod(domain, options, device)
        return RivalMethod(name, domain, options, device)
    return NETWORKS[name](domain, options, device)  # type: ignore[arg-type]
