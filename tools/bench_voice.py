"""What the voice does, measured: `make bench-voice`.

Parts (all, or those that are named):
  recognition  errors of 40 sentences a language, clean and in babble, by five voices, with and
               without repair by sound
  latency      from the end of speech to the first sound of the answer, by stage: our loop in one
               process, and the same loop built from pipecat with the same models, in turn
  pauses       questions with a pause inside: how many are cut in two, by our ear and by pipecat's
  sharing      recognition, synthesis and generation alone and at once; blocks of sound dropped

Nothing here has a sound device in its path. What patients say is synthesised once, and kept in
~/.cache/medbot/bench-voice. Where others use the machine, only ratios within one run mean much.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import sys
import time

# As launch/medbot.launch.py sets it: threads that spin slow the others down.
os.environ.setdefault("GOMP_SPINCOUNT", "300")

from bench_voice_latency import TURN_ENDS
from bench_voice_latency import latency
from bench_voice_latency import pauses
from bench_voice_ours import CONFIG
from bench_voice_ours import MODEL
from bench_voice_ours import Cores
from bench_voice_ours import Parts
from bench_voice_peer import PeerError
from bench_voice_recognition import recognition
from bench_voice_sharing import sharing
from bench_voice_sounds import Studio

from medbot_llm.domain import MedbotError

PARTS = ("recognition", "latency", "pauses", "sharing")


def main() -> int:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (default: all)"
    )
    parser.add_argument("--quick", action="store_true", help="a sample of each part")
    parser.add_argument("--no-pipecat", action="store_true", help="only our own")
    parser.add_argument(
        "--turn-end",
        choices=tuple(TURN_ENDS),
        default="smart",
        help="how pipecat ends a turn in `latency`: Smart Turn v3, its default, or so many s "
        "behind Silero's 0.2 s (default: %(default)s)",
    )
    parser.add_argument(
        "--no-foresight",
        action="store_true",
        help="let the model wait for the end of a turn in `latency`",
    )
    parser.add_argument("--details", action="store_true", help="list what was misheard")
    parser.add_argument("--model", default=os.environ.get("MODEL") or MODEL)
    options = parser.parse_args()
    unknown = [part for part in options.parts if part not in PARTS]
    if unknown:
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    logging.basicConfig(level=logging.ERROR, format="%(name)s: %(message)s")
    started = time.monotonic()
    parts = None
    try:
        cores = Cores.read()
        studio = Studio()
        parts = Parts(cores, options.model, foresees=not options.no_foresight)
        print(
            f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, load "
            f"{' '.join(f'{load:.1f}' for load in os.getloadavg())}; {options.model}; "
            f"threads as in {CONFIG.name}"
        )
        for part in options.parts or PARTS:
            print(f"\n=== {part}, load {os.getloadavg()[0]:.1f}", flush=True)
            if part == "recognition":
                recognition(parts, studio, quick=options.quick, details=options.details)
            elif part == "latency":
                latency(
                    parts,
                    studio,
                    quick=options.quick,
                    peer=not options.no_pipecat,
                    turn_end=options.turn_end,
                )
            elif part == "pauses":
                pauses(parts, studio, quick=options.quick, peer=not options.no_pipecat)
            else:
                # Its processes have the cores to themselves.
                parts.close()
                sharing(studio, cores, quick=options.quick)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    except (MedbotError, PeerError) as error:
        print(f"bench-voice: {error}", file=sys.stderr)
        return 2
    finally:
        if parts is not None:
            parts.close()
    print(f"it took {time.monotonic() - started:.0f} s; load {os.getloadavg()[0]:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
