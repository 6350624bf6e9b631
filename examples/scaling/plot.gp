# Three panels over the number of ranks: medians, bars from the 10th to the 90th percentile.
# Given: out, names ("a|b|c"), ranks ("1 2 4"), machine.
set terminal svg size 1200,520 dynamic enhanced font "sans,13" background rgb "white"
set output out."/scaling.svg"
set datafile separator "\t"
n = 1
do for [i = 1:strlen(names)] { if (names[i:i] eq "|") { n = n + 1 } }
part(list, k) = system("echo '".list."' | cut -d'|' -f".k)
array colors[6] = ["#1b6ca8", "#e07b39", "#3a9b6d", "#b0413e", "#7b5ea7", "#8a6d3b"]
set multiplot layout 1,3 margins 0.06,0.985,0.28,0.80 spacing 0.06
set label 1 "Training steps, strategies side by side" at screen 0.5,0.96 center font ",16"
set label 2 machine at screen 0.5,0.905 center font ",11" noenhanced
set logscale x 2
set xrange [0.8 * word(ranks, 1):1.25 * word(ranks, words(ranks))]
set xtics ()
do for [i = 1:words(ranks)] { set xtics add (word(ranks, i) word(ranks, i)) }
set yrange [0:*]
set grid ytics lc rgb "#e4e4e4"
set border 3 lc rgb "#888888"
set tics nomirror textcolor rgb "#333333"
set xlabel "ranks"
set format y "%g"
set key at screen 0.5,0.085 center center horizontal maxrows 3 samplen 1.5 spacing 1.2 font ",12"
measures = "tokens_per_s efficiency exposed"
titles = "tokens per second|efficiency: 1 = ranks x tokens/s of one rank|share of a step spent waiting"
do for [m = 1:3] {
    set title part(titles, m) font ",13"
    if (m == 2) { set key on } else { set key off }
    file = out."/".word(measures, m).".tsv"
    plot for [k = 1:n] file using (strcol(1) eq part(names, k) ? $2 * 1.03 ** (k - (n + 1) / 2.0) : NaN):3:4:5 with yerrorlines lw 1.8 pt 7 ps 0.7 lc rgb colors[(k - 1) % 6 + 1] title part(names, k)
    unset label 1
    unset label 2
}
unset multiplot
