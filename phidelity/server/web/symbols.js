// What the commands of TeX stand for, as far as this page knows them.

const LETTERS = `alpha α beta β gamma γ delta δ epsilon ϵ varepsilon ε zeta ζ eta η theta θ vartheta ϑ iota ι kappa κ lambda λ mu μ nu ν
  xi ξ pi π varpi ϖ rho ρ varrho ϱ sigma σ varsigma ς tau τ upsilon υ phi ϕ varphi φ chi χ psi ψ omega ω Gamma Γ Delta Δ Theta Θ
  Lambda Λ Xi Ξ Pi Π Sigma Σ Upsilon Υ Phi Φ Psi Ψ Omega Ω hbar ℏ ell ℓ Re ℜ Im ℑ aleph ℵ partial ∂ nabla ∇ infty ∞ emptyset ∅
  varnothing ∅ imath ı jmath ȷ wp ℘ dots … ldots … cdots ⋯ vdots ⋮ ddots ⋱ top ⊤ bot ⊥ angle ∠ triangle △ square □ degree °
  blacksquare ■ S § prime ′ checkmark ✓ star ⋆`;

const OPERATORS = `times × div ÷ pm ± mp ∓ cdot ⋅ ast ∗ circ ∘ bullet ∙ oplus ⊕ ominus ⊖ otimes ⊗ odot ⊙ cap ∩ cup ∪ setminus ∖ wedge ∧ land ∧
  vee ∨ lor ∨ neg ¬ lnot ¬ leq ≤ le ≤ geq ≥ ge ≥ neq ≠ ne ≠ approx ≈ equiv ≡ cong ≅ sim ∼ simeq ≃ propto ∝ ll ≪ gg ≫ prec ≺ succ ≻
  in ∈ notin ∉ ni ∋ subset ⊂ supset ⊃ subseteq ⊆ supseteq ⊇ forall ∀ exists ∃ nexists ∄ mid ∣ nmid ∤ parallel ∥ perp ⊥ to →
  rightarrow → leftarrow ← leftrightarrow ↔ Rightarrow ⇒ Leftarrow ⇐ Leftrightarrow ⇔ implies ⟹ impliedby ⟸ iff ⟺ mapsto ↦
  longrightarrow ⟶ longleftarrow ⟵ uparrow ↑ downarrow ↓ hookrightarrow ↪ therefore ∴ because ∵ models ⊨ vdash ⊢ colon : lt < gt >
  lbrace { rbrace } lbrack [ rbrack ] vert | Vert ‖ backslash \\ dagger † amalg ⨿ triangleq ≜ coloneqq ≔ lesssim ≲ gtrsim ≳ asymp ≍`;

const FENCES = `langle ⟨ rangle ⟩ lfloor ⌊ rfloor ⌋ lceil ⌈ rceil ⌉ lvert | rvert | lVert ‖ rVert ‖ lbrace { rbrace } vert | Vert ‖`;

const LARGE = `sum ∑ prod ∏ coprod ∐ int ∫ iint ∬ iiint ∭ oint ∮ bigcup ⋃ bigcap ⋂ bigoplus ⨁ bigotimes ⨂ bigvee ⋁ bigwedge ⋀`;

const ACCENTS = `hat ^ widehat ^ bar ¯ overline ¯ tilde ~ widetilde ~ vec → overrightarrow → dot ˙ ddot ¨ check ˇ breve ˘ acute ´ grave \``;

const pairs = (text) => {
  const words = text.trim().split(/\s+/);
  return new Map(words.flatMap((word, i) => (i % 2 ? [] : [[word, words[i + 1]]])));
};

export const letters = pairs(LETTERS);
export const operators = pairs(OPERATORS);
export const fences = pairs(FENCES);
export const large = pairs(LARGE);
export const accents = pairs(ACCENTS);

export const functions = new Set(
  `arccos arcsin arctan arg cos cosh cot coth csc deg det dim exp gcd hom inf ker lcm lg lim liminf limsup ln log max min Pr sec sin sinh
  sup tan tanh argmax argmin softmax mod sgn tr rank Var Cov`.split(/\s+/),
);
// Those whose index goes below them in a formula of its own line.
export const limits = new Set(`det gcd inf lim liminf limsup max min Pr sup argmax argmin`.split(" "));

export const spaces = new Map(Object.entries({
  ",": "0.167em", ":": "0.222em", ";": "0.278em", ">": "0.222em", "!": "-0.167em", " ": "0.333em", "~": "0.333em",
  quad: "1em", qquad: "2em", enspace: "0.5em", thinspace: "0.167em", medspace: "0.222em", thickspace: "0.278em",
}));

// Alphabets of mathematical letters: where capital A, small a and 0 stand, and the letters that stand elsewhere.
const ALPHABETS = {
  mathbf: [0x1d400, 0x1d41a, 0x1d7ce],
  boldsymbol: [0x1d400, 0x1d41a, 0x1d7ce],
  bm: [0x1d400, 0x1d41a, 0x1d7ce],
  mathbb: [0x1d538, 0x1d552, 0x1d7d8, { C: "ℂ", H: "ℍ", N: "ℕ", P: "ℙ", Q: "ℚ", R: "ℝ", Z: "ℤ" }],
  mathcal: [0x1d49c, 0x1d4b6, 0, { B: "ℬ", E: "ℰ", F: "ℱ", H: "ℋ", I: "ℐ", L: "ℒ", M: "ℳ", R: "ℛ", e: "ℯ", g: "ℊ", o: "ℴ" }],
  mathscr: [0x1d49c, 0x1d4b6, 0, { B: "ℬ", E: "ℰ", F: "ℱ", H: "ℋ", I: "ℐ", L: "ℒ", M: "ℳ", R: "ℛ", e: "ℯ", g: "ℊ", o: "ℴ" }],
  mathfrak: [0x1d504, 0x1d51e, 0, { C: "ℭ", H: "ℌ", I: "ℑ", R: "ℜ", Z: "ℨ" }],
  mathsf: [0x1d5a0, 0x1d5ba, 0x1d7e2],
  mathtt: [0x1d670, 0x1d68a, 0x1d7f6],
  mathrm: [0x41, 0x61, 0x30],
  mathit: [0x1d434, 0x1d44e, 0, { h: "ℎ" }],
};

export const alphabets = new Set(Object.keys(ALPHABETS));

export function styled(alphabet, char) {
  const [capital, small, digit, others = {}] = ALPHABETS[alphabet];
  if (Object.hasOwn(others, char)) return others[char];
  if (char >= "A" && char <= "Z") return String.fromCodePoint(capital + char.charCodeAt(0) - 65);
  if (char >= "a" && char <= "z") return String.fromCodePoint(small + char.charCodeAt(0) - 97);
  if (char >= "0" && char <= "9" && digit) return String.fromCodePoint(digit + char.charCodeAt(0) - 48);
  return char;
}
