"""Words that names of runs are made of: short, easy to say, none of them unkind."""

from __future__ import annotations

from typing import Final

__all__ = ["ADJECTIVES", "NOUNS"]

ADJECTIVES: Final = (
    "agile", "amber", "ample", "apt", "azure", "balmy", "bold", "brave", "breezy", "bright", "brisk", "calm", "candid",
    "cheery", "civil", "clear", "clever", "cosy", "crisp", "curious", "dapper", "daring", "deft", "eager", "early",
    "earnest", "easy", "elated", "fair", "fancy", "fast", "fine", "fleet", "fluent", "fond", "fresh", "gentle", "glad",
    "golden", "grand", "happy", "hardy", "honest", "humble", "ideal", "jolly", "keen", "kind", "lively", "loyal",
    "lucid", "lucky", "mellow", "merry", "mild", "modest", "neat", "nimble", "noble", "olive", "open", "patient",
    "placid", "plucky", "polite", "prime", "prompt", "proud", "quick", "quiet", "rapid", "ready", "rosy", "royal",
    "rustic", "sage", "scarlet", "serene", "sharp", "shiny", "silent", "silver", "simple", "smart", "smooth", "snug",
    "solid", "spry", "stable", "steady", "sunny", "swift", "tidy", "upbeat", "vivid", "warm", "wise", "witty", "young",
    "zesty",
)  # fmt: skip

NOUNS: Final = (
    "acorn", "alder", "anchor", "aspen", "badger", "bamboo", "beacon", "birch", "bison", "breeze", "bridge", "brook",
    "canyon", "cedar", "cliff", "clover", "comet", "condor", "coral", "crane", "creek", "dawn", "delta", "dolphin",
    "dune", "eagle", "ember", "falcon", "fern", "field", "finch", "fjord", "forest", "garden", "gecko", "glacier",
    "grove", "harbor", "hazel", "heron", "hill", "island", "ivy", "jaguar", "juniper", "kestrel", "koala", "lagoon",
    "lake", "lantern", "lark", "laurel", "lemur", "lily", "lotus", "lynx", "maple", "marlin", "meadow", "mesa", "moon",
    "moss", "nectar", "oak", "oasis", "ocean", "orbit", "orchid", "osprey", "otter", "owl", "panda", "pebble",
    "pelican", "petal", "pine", "planet", "pond", "poplar", "prairie", "puffin", "quail", "quartz", "raven", "reef",
    "ridge", "river", "robin", "salmon", "sequoia", "sparrow", "spruce", "summit", "swan", "thistle", "tulip",
    "valley", "walnut", "willow", "wren",
)  # fmt: skip
