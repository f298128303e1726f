"""What the words of a page mean, for who has nothing but the page: said where they first stand."""

from __future__ import annotations

OF_THE_HEAD = (
    "Outputs are compared stage by stage with a reference: the same weights at higher precision. A token is a word of the answer, or a "
    "piece of one. Start-up is what passes before the first answer at full speed: loading the weights, compiling, warming up. "
    "Break-even is the number of samples after which a longer start-up has been paid back; a sample is one clip, or one stretch of "
    "events, with its question."
)
SECTIONS = {
    "How fast": (
        "A sample goes through four stages. Load reads the file and makes frames of it; preprocess turns frames and question into the "
        "numbers that the network takes; vision turns frames into visual tokens; generate writes the answer. Generate begins with the "
        "prefill, one pass over the whole prompt, and goes on with decode steps, one for each further token. TTFT is the time from the "
        "start to the first token, TPOT the time per output token after it. End-to-end is from file to text.",
        "A median is the time that half of the runs stay below. A speedup of 2x means half the time, one below 1x means slower. The "
        "95 % confidence interval (CI) is the range in which the true speedup lies in 95 of 100 such measurements, and the claim follows "
        "from it.",
    ),
    "What was changed": (
        "Each part of the pipeline can be done in several ways, by one of several choices. These are the parts in which the sides "
        "differ. The variant called baseline is transformers as people run it; what follows a plus sign in the name of a variant is a "
        "choice that was changed in it.",
    ),
    "Where the difference comes from": (
        "These are means, not medians, because means add up. To time single stages, evbench waits for the GPU after each of them (stage "
        "synchronization). The end-to-end time is of runs without these waits, as a user has it; what they cost, and what overlaps "
        "without them, is a part of its own.",
        "Where traces were recorded, a second table says how long the GPU was busy in each stage. Host-bound is the share of the time in "
        "which it stands idle because the program has given it nothing to do.",
    ),
    "Time per token": (
        "Time that a reader waits for the answer: for its first token, and then for each further one. Rows called gpu-stream are times "
        "by the GPU's own clock, gaps included. p90: nine of ten are no slower.",
    ),
    "All runs": (
        "Both sides run in turn, in blocks of ABBA or BAAB (A the baseline, B the optimized side), and speedups are estimated within "
        "blocks: when the machine becomes slower, both sides do, and it is not taken for a difference. An outlier is a run that is far "
        "from the median, by the spread of the others.",
    ),
    "Physical floors": (
        "No program can be faster than this machine reads the weights and multiplies. That least time is the floor. A side at 90 % of "
        "it has little left to gain; one at 10 % has.",
    ),
    "Output checks": (
        "A check measures how far an output is from its reference, and allows a small multiple of the baseline's own error. Pictures "
        "are compared in 8-bit levels: 0 is black, and 255 the brightest.",
    ),
}
"""Heading of a section -> paragraphs below it."""
FLAGS = {
    "CACHED": "So its times may be of answers that were remembered, not computed; nothing is claimed unless that was asked for.",
    "FAILED_SAMPLES": "So the figures are of the samples that both sides could use; where not the same failed on both, nothing is claimed.",
    "IMPOSSIBLE": "So part of the work was not done within the time that was taken, and nothing is claimed.",
    "INPUT_IGNORED": "So its outputs are right for one input only, and what was timed may be less than the work; nothing is claimed.",
    "LOSSY_BY_DESIGN": "So it answers other questions than how fast the same can be computed: read what is lost beside what is gained.",
    "MEASURED_APART": "So a machine that had changed in between would look like a speedup, and nothing is claimed.",
    "MULTIMODAL": "So the speedup holds on average, and single runs are clearly faster or slower than it says: look at all runs below.",
    "NOT_ACTIVE": "So what was timed is perhaps not the way of computing that the variant names.",
    "NOT_PRECISE": "So the interval is wider than was asked for; what is claimed holds all the same.",
    "NOT_REPEATABLE": "So smaller differences of the outputs than the baseline's own cannot be seen.",
    "NOT_STEADY": "So times may still have been falling when counting began: look at all runs below.",
    "NOT_VERIFIED": "So it has to be believed that this file is what was measured: the record of single runs is not beside it.",
    "ONE_INVOCATION": "So with both programs started again the speedup may lie outside of the interval.",
    "ORDER=RELOAD": "So runs of the two sides are further apart than usual, and what the machine does in between weighs more.",
    "ORDER_SENSITIVE": "So in use, where one side runs alone, the speedup may be another one.",
    "OUTPUT_NEARLY": "So single values differ by more than rounding explains; whether that matters is for you to say.",
    "REFERENCE_MISSING": "So outputs are compared less closely, and no speedup is claimed.",
    "STAGES_AS_ONE": "So what a change of the vision stage gives is part of what generate shows.",
}
"""Flag -> what follows from it for the reader."""
