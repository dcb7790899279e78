"""`medbot-train pipeline`: from data to what the robot loads, in one command."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from medbot_training.pipeline.plan import ORDER

_DESCRIPTION = """\
Run all stages of a recipe, one after another, each in a process of its own: what the recipe has a
section for of pretrain, sft, dpo, reward and rl; then merge and export. One adapter is trained
further from stage to stage; out comes a GGUF that the robot loads.

Give the same command again whenever you like: a stage whose recipe fields, data, base, adapter and
library versions are as they were is not repeated, one that was cut goes on from its last
checkpoint, and one of which anything has changed runs again, with all that builds on it.
"""

_EPILOG = """\
examples:
  medbot-train pipeline training/recipes/smoke.yaml --output_dir out     all stages, in minutes
  medbot-train pipeline my.yaml --output_dir out --dry-run   what would run, and why; runs nothing
  medbot-train pipeline my.yaml --output_dir out --from dpo  dpo and what follows once more
  medbot-train estimate --config my.yaml                     memory and time, before it starts

in the recipe, besides the sections of the stages:
  pipeline: {stages: [sft, dpo, merge, export]}   these stages, not those with a section
  merge: {dtype: float16}                         else as the base's
  export: {quantize: [f16, q8_0], name: ward-v1}  also eval, licence; medbot-train export --help
  export: {kind: lora}                            a LoRA to go beside the base's GGUF; no merge
  rl: {reward_funcs: [reward, rules]}             reward: this pipeline's own reward model

in OUTPUT_DIR afterwards:
  pretrain/ sft/ dpo/ reward/ rl/   each as the stage alone leaves it, with final/ and run.json
  merged/ exported/                 the weights, and the GGUF with its manifest.json
  pipeline.json                     what each stage was made of; how the next call knows

exit status: 0 all done; 2 a stage failed, those before it stay done; 130 stopped by Ctrl-C.
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "pipeline",
        help="all stages of a recipe, merged and exported",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("recipe", type=Path, metavar="RECIPE", help="the recipe, a YAML file")
    parser.add_argument(
        "--output_dir",
        "--output-dir",
        type=Path,
        required=True,
        metavar="DIR",
        help="where everything goes; of this recipe alone",
    )
    parser.add_argument(
        "--from",
        dest="anew_from",
        choices=ORDER,
        metavar="STAGE",
        help="do this stage and all after it again, even if nothing has changed",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be done and why, and do nothing"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the pipeline."""
    from medbot_training.pipeline.running import Pipeline

    pipeline = Pipeline(args.recipe, args.output_dir, verbose=args.verbose)
    if args.dry_run:
        print("\n".join(pipeline.plan(args.anew_from)))
        return 0
    pipeline.run(args.anew_from)
    return 0
