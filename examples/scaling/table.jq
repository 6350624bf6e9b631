# The table that people read.
def pad($n): tostring | if length < $n then (" " * ($n - length)) + . else . end;
def fill($n): tostring | if length < $n then . + (" " * ($n - length)) else . end;
def fixed($d): . * pow(10; $d) | round / pow(10; $d) | tostring | if $d > 0 and (index(".") | not) then . + "." + ("0" * $d) elif $d > 0 then . + ("0" * ($d - (length - 1 - index(".")))) else . end;
def ms($x): "\($x.median | fixed(1) | pad(8)) \("(\($x.low | fixed(1))..\($x.high | fixed(1)))" | fill(18))";
def percent($x): $x.median * 100 | fixed(0) | pad(4);
def agrees($a; $b): if $a == $b then "= formula" else "formula \($b)" end;

.machine,
"\(.build)",
"noise: \(.noise.what): median \(.noise.median | fixed(2)), 10..90 % \(.noise.low | fixed(2))..\(.noise.high | fixed(2)); medians of \(.rounds) interleaved rounds, 10..90 % in brackets",
"efficiency: tokens/s over ranks x tokens/s of one rank; exposed: share of the step spent waiting for messages and collectives, mean over ranks",
"bytes: a step, all ranks",
"",
"ranks  strategy           step ms                     tokens/s  effic. %  exposed %   layers' bytes            gradients' bytes",
(.cores as $cores | .rows[] |
  "\(.ranks | pad(5))  \(.name | fill(14)) \(ms(.step_ms)) \(.tokens_per_s.median | fixed(0) | pad(10)) \(percent(.efficiency) | pad(9)) \(percent(.exposed) | pad(10))   \(.schedule_bytes | pad(11)) \(agrees(.schedule_bytes; .schedule_formula) | fill(12)) \(.gradient_bytes | pad(11)) \(agrees(.gradient_bytes; .gradient_formula))\(if .ranks > $cores then "   (ranks share cores)" else "" end)")
