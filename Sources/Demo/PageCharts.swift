// Charts of the demonstration page: plain canvas, a sliding window of 30 seconds, redrawn once a frame.

extension DemoPage {
    static let charts = #"""
        "use strict";
        const windowMs = 30000;

        /** Percentile by nearest rank of a sorted list; NaN when it is empty. */
        const percentile = (sorted, p) => sorted.length ? sorted[Math.max(0, Math.ceil(sorted.length * p / 100) - 1)] : NaN;
        const sortedValues = samples => samples.map(sample => sample.value).sort((a, b) => a - b);

        const formatMs = ms => isNaN(ms) ? "–" : ms < 10 ? ms.toFixed(2) + " ms"
          : ms < 1000 ? ms.toFixed(1) + " ms" : (ms / 1000).toFixed(2) + " s";
        function formatBytes(n) {
          const units = ["B", "KiB", "MiB", "GiB", "TiB"];
          let unit = 0;
          while (n >= 1024 && unit < units.length - 1) { n /= 1024; unit++; }
          return (unit === 0 || n >= 100 ? n.toFixed(0) : n.toFixed(n >= 10 ? 1 : 2)) + " " + units[unit];
        }
        const formatRate = bytesPerSecond => isNaN(bytesPerSecond) ? "–" : formatBytes(bytesPerSecond) + "/s";

        class Chart {
          constructor(canvas) { this.canvas = canvas; this.context = canvas.getContext("2d"); }

          /** Clears the canvas at the device's resolution and fixes the frame: left, top, width, height. */
          begin() {
            const ratio = devicePixelRatio || 1, width = this.canvas.clientWidth, height = this.canvas.clientHeight;
            if (this.canvas.width !== Math.round(width * ratio) || this.canvas.height !== Math.round(height * ratio)) {
              this.canvas.width = Math.round(width * ratio);
              this.canvas.height = Math.round(height * ratio);
            }
            const style = getComputedStyle(document.documentElement);
            this.colour = name => style.getPropertyValue("--" + name).trim();
            this.left = 64; this.top = 8; this.width = width - this.left - 6; this.height = height - this.top - 24;
            const c = this.context;
            c.setTransform(ratio, 0, 0, ratio, 0, 0);
            c.clearRect(0, 0, width, height);
            c.font = "11px system-ui, sans-serif";
            c.lineWidth = 1;
          }

          x(at, now) { return this.left + this.width * (1 - (now - at) / windowMs); }

          grid(ticks, y, label) {
            const c = this.context;
            c.strokeStyle = this.colour("grid");
            c.fillStyle = this.colour("soft");
            c.textAlign = "right";
            c.textBaseline = "middle";
            for (const tick of ticks) {
              const at = Math.round(y(tick)) + .5;
              c.beginPath(); c.moveTo(this.left, at); c.lineTo(this.left + this.width, at); c.stroke();
              c.fillText(label(tick), this.left - 8, at);
            }
            c.textBaseline = "alphabetic";
            for (const seconds of [30, 20, 10, 0]) {
              const at = this.left + this.width * (1 - seconds * 1000 / windowMs);
              c.textAlign = seconds === 0 ? "right" : seconds === 30 ? "left" : "center";
              c.fillText(seconds ? "−" + seconds + " s" : "now", at, this.top + this.height + 18);
            }
          }

          /** Scatter on a logarithmic scale: the tail is the interesting part of a latency. */
          scatter(series, now) {
            this.begin();
            const c = this.context, values = series.flatMap(one => one.samples.map(sample => sample.value));
            let low = Math.min(...values, .5), high = Math.max(...values, 2);
            low = 10 ** Math.floor(Math.log10(low)); high = 10 ** Math.ceil(Math.log10(high));
            const y = value => this.top + this.height * (1 - Math.log(value / low) / Math.log(high / low)), ticks = [];
            for (let tick = low; tick <= high * 1.001; tick *= 10) ticks.push(tick);
            this.grid(ticks, y, tick => tick >= 1000 ? tick / 1000 + " s" : +tick.toPrecision(1) + " ms");
            for (const { samples, colour } of series) {
              c.fillStyle = this.colour(colour);
              c.globalAlpha = .55;
              for (const sample of samples) c.fillRect(this.x(sample.at, now) - 1, y(sample.value) - 1, 2.2, 2.2);
              c.globalAlpha = 1;
              const median = percentile(sortedValues(samples), 50);
              if (isNaN(median)) continue;
              c.strokeStyle = c.fillStyle;
              c.setLineDash([4, 3]);
              c.beginPath(); c.moveTo(this.left, y(median)); c.lineTo(this.left + this.width, y(median)); c.stroke();
              c.setLineDash([]);
            }
          }

          /** A mark at the upper edge for each sample, over a chart that is drawn; many together look denser. */
          ticks(samples, now, colour) {
            const c = this.context;
            c.fillStyle = this.colour(colour);
            c.globalAlpha = .6;
            for (const sample of samples) c.fillRect(this.x(sample.at, now) - .75, this.top, 1.5, 12);
            c.globalAlpha = 1;
          }

          /** A filled line from zero on a linear scale of round numbers. */
          line(samples, now, colour, label) {
            this.begin();
            const c = this.context, peak = Math.max(...samples.map(sample => sample.value), .4);
            const power = 10 ** Math.floor(Math.log10(peak / 4)), step = [1, 2, 5, 10].map(n => n * power).find(step => peak / step <= 4);
            const high = Math.ceil(peak / step) * step, y = value => this.top + this.height * (1 - value / high), ticks = [];
            for (let tick = 0; tick <= high * 1.001; tick += step) ticks.push(tick);
            this.grid(ticks, y, tick => tick ? label(+tick.toPrecision(3)) : "0");
            if (samples.length > 1) this.stroke(samples, now, y, colour);
          }

          stroke(samples, now, y, colour) {
            const c = this.context;
            c.save();
            c.beginPath(); c.rect(this.left, 0, this.width, this.top + this.height + 1); c.clip();
            c.beginPath();
            samples.forEach((sample, i) => c[i ? "lineTo" : "moveTo"](this.x(sample.at, now), y(sample.value)));
            c.strokeStyle = this.colour(colour); c.lineWidth = 1.6; c.stroke();
            c.lineTo(this.x(samples[samples.length - 1].at, now), y(0)); c.lineTo(this.x(samples[0].at, now), y(0)); c.closePath();
            c.globalAlpha = .13; c.fillStyle = this.colour(colour); c.fill();
            c.restore();
          }

          /** A small filled line from zero without scale: its figure stands above it. */
          spark(samples, now, colour) {
            this.begin();
            const c = this.context;
            this.left = 0; this.top = 3; this.width = this.canvas.clientWidth; this.height = this.canvas.clientHeight - 4;
            const high = Math.max(...samples.map(sample => sample.value), 1) * 1.1;
            const y = value => this.top + this.height * (1 - value / high);
            c.strokeStyle = this.colour("grid");
            c.beginPath(); c.moveTo(0, y(0)); c.lineTo(this.width, y(0)); c.stroke();
            if (samples.length > 1) this.stroke(samples, now, y, colour);
          }

          /** Filled line from zero; a sample of null is a gap. */
          area(samples, now) {
            this.begin();
            const c = this.context, peak = Math.max(...samples.map(sample => sample.value || 0), 1048576);
            const step = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000].map(mib => mib * 1048576)
              .find(step => peak / step <= 5) || peak / 4;
            const high = Math.ceil(peak / step) * step, y = value => this.top + this.height * (1 - value / high), ticks = [];
            for (let tick = 0; tick <= high; tick += step) ticks.push(tick);
            this.grid(ticks, y, tick => tick ? Math.round(tick / 1048576) + " MiB/s" : "0");
            c.save();
            c.beginPath(); c.rect(this.left, 0, this.width, this.top + this.height + 1); c.clip();
            let run = [];
            const flush = () => {
              if (run.length > 1) {
                c.beginPath();
                run.forEach((sample, i) => c[i ? "lineTo" : "moveTo"](this.x(sample.at, now), y(sample.value)));
                c.strokeStyle = this.colour("a"); c.lineWidth = 1.6; c.stroke();
                c.lineTo(this.x(run[run.length - 1].at, now), y(0)); c.lineTo(this.x(run[0].at, now), y(0)); c.closePath();
                c.fillStyle = this.colour("a-fill"); c.fill();
              }
              run = [];
            };
            for (const sample of samples) sample.value === null ? flush() : run.push(sample);
            flush();
            c.restore();
          }
        }
        """#
}
