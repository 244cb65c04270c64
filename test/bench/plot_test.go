package bench

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// How the plot is laid out, in pixels.
const (
	plotWidth, barLeft, barRight = 1000, 400, 840
	lineHeight, barHeight        = 26, 14
)

// plot draws the rows that have a target as bars: how many times less than the reference path, on a logarithmic scale, and below how
// much of what is accepted.
func (r *report) plot() []byte {
	p := &plot{}
	p.title("How many times less than the reference path")
	for _, row := range r.Rows {
		if row.IsRatio && row.Ratio != nil {
			p.bar(row, *row.Ratio, "×", logarithmic, row.Accept, row.Stretch)
		}
	}
	p.axis([]float64{1, 10, 100}, "×", logarithmic)
	p.title("How much of what is accepted")
	for _, row := range r.Rows {
		if !row.IsRatio && row.Accept != nil && *row.Accept > 0 && row.Ours != nil {
			stretch := row.Stretch
			if stretch != nil {
				stretch = new(100 * *stretch / *row.Accept)
			}
			p.bar(row, 100**row.Ours / *row.Accept, "%", linear, new(100.0), stretch)
		}
	}
	p.axis([]float64{0, 50, 100, 150, 200}, "%", linear)
	p.text(20, p.y+10, "start", 11, fmt.Sprintf("| accepted   ┆ stretch   medians of %d, %s, %s", r.Rounds, r.Machine, r.Date))
	return fmt.Appendf(nil, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif">
<rect width="100%%" height="100%%" fill="white"/>
%s</svg>
`, plotWidth, p.y+30, p.svg.String())
}

// plot is drawn from top to bottom.
type plot struct {
	svg strings.Builder
	y   int
}

func logarithmic(value float64) float64 {
	const most = 300
	return math.Log(min(max(value, 1), most)) / math.Log(most)
}

func linear(value float64) float64 { return min(value, 200) / 200 }

func (p *plot) title(text string) {
	p.y += 2 * lineHeight
	p.text(20, p.y-8, "start", 16, text)
}

// bar draws a value, and where it should be.
func (p *plot) bar(row row, value float64, unit string, scale func(float64) float64, accept, stretch *float64) {
	const green, lightGreen, red = "#2e7d32", "#8bc34a", "#c62828"
	colour := map[verdict]string{stretched: green, accepted: lightGreen, missed: red}[row.Verdict]
	end := barLeft + int(scale(value)*(barRight-barLeft))
	p.text(barLeft-10, p.y+barHeight-2, "end", 12, row.Name)
	fmt.Fprintf(&p.svg, `<rect x="%d" y="%d" width="%d" height="%d" fill="%s"/>`+"\n", barLeft, p.y, end-barLeft, barHeight, colour)
	p.text(barRight+20, p.y+barHeight-2, "start", 12, fmt.Sprintf("%s%s %s", short(&value, ""), unit, row.Verdict))
	p.mark(accept, scale, "")
	p.mark(stretch, scale, ` stroke-dasharray="3"`)
	p.y += lineHeight
}

func (p *plot) mark(limit *float64, scale func(float64) float64, dashes string) {
	if limit != nil {
		x := barLeft + int(scale(*limit)*(barRight-barLeft))
		fmt.Fprintf(&p.svg, `<path d="M%d %dV%d" stroke="black"%s/>`+"\n", x, p.y-4, p.y+barHeight+4, dashes)
	}
}

func (p *plot) axis(values []float64, unit string, scale func(float64) float64) {
	for _, value := range values {
		p.text(barLeft+int(scale(value)*(barRight-barLeft)), p.y+8, "middle", 11, short(&value, "")+unit)
	}
	p.y += lineHeight
}

func (p *plot) text(x, y int, anchor string, size int, text string) {
	fmt.Fprintf(&p.svg, `<text x="%d" y="%d" text-anchor="%s" font-size="%d">%s</text>`+"\n", x, y, anchor, size, html.EscapeString(text))
}
