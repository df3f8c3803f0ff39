/* Text on a colour, by the contrast of WCAG 2.2; app/services/colours.py does the same for mails. */
export const HEX = /^#[0-9a-f]{6}$/i;
const channel = v => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
const luminance = c => [1, 3, 5].reduce((sum, at, i) => sum + [0.2126, 0.7152, 0.0722][i] * channel(parseInt(c.slice(at, at + 2), 16)), 0);
export function contrast(a, b) { const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y); return (high + 0.05) / (low + 0.05); }
export const inkOn = c => contrast(c, "#ffffff") >= contrast(c, "#18181b") ? "#ffffff" : "#18181b";
