# Whether a trace keeps the rules of its format, and what canto promises beside: prints the first
# fault, or "good". Takes the number of ranks as --argjson ranks.
def ns: . * 1000 | round;
def end_ns: (.ts | ns) + (.dur | ns);
def lane: "\(.pid)/\(.tid)";

# Spans of one thread lie inside or outside of each other, in the order of their starts.
def nested:
    reduce .[] as $e ({good: true, open: []};
        ($e.ts | ns) as $start
        | .open |= until(length == 0 or .[-1] > $start; .[:-1])
        | .good = (.good and $e.dur > 0 and (.open == [] or ($e | end_ns) <= .open[-1]))
        | .open += [$e | end_ns])
    | .good;

# Every b has its e, every s its f, with one id and not before it.
def paired($first; $second):
    [.[] | select(.ph == $first or .ph == $second)] | group_by(.id)
    | all(sort_by(.ph == $second) | map(.ph) == [$first, $second] and .[0].ts <= .[1].ts);

def sorted_by_time: . == sort_by(.ts);

.otherData as $other | .traceEvents as $all
| ($all | map(select(.ph != "M"))) as $events
| ($events | map(select(.ph == "X")) | group_by(lane)) as $lanes
| ($lanes | map({key: (.[0] | lane), value: map([(.ts | ns), end_ns])}) | from_entries) as $spans
| if ($all | any(.name == "" or .name == null)) then "an event has no name"
  elif ($all | map(.pid) | unique) != [range($ranks)] then "another set of ranks"
  elif ($events | any((.ph | IN("X", "b", "e", "s", "f")) | not)) then "an unknown phase"
  elif ($events | any(.ts < 0)) then "a time before the start"
  elif ($events | group_by(.pid) | all(sorted_by_time)) | not then "times go back"
  elif ($lanes | all(nested)) | not then "spans overlap"
  elif ($events | paired("b"; "e")) | not then "a message without its end"
  elif $other.dropped == 0 and ($events | paired("s"; "f") | not) then "an arrow without its end"
  elif ($events | map(select(.ph == "s" or .ph == "f"))
        | all((.ts | ns) as $at | any($spans[lane][]; .[0] <= $at and $at < .[1]))) | not
  then "an arrow that hangs in the air"
  elif ($all | map(select(.name == "thread_name")) | group_by(.pid)
        | all(["compute", "control", "gradients", "io", "schedule", "world"] - map(.args.name) == []))
       | not
  then "lanes without their names"
  else "good" end
