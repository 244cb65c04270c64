// Package walk writes the wire form of an object straight from the JSON that the API server sends, in one pass and without building
// the object.
//
//	scan.go      JSON: strings, values, members
//	cut.go       JSON for others: what a list or an event is cut into
//	word.go      bytes, looked at eight at a time
//	object.go    one object: what of it is carried, and how
//	identity.go  which object it is, and in which state
//	redact.go    what of a Secret is not carried
//
// It says the same as package wire does of a decoded object, at a fraction of the cost: Encoder there is the obvious way, and
// says what is right. The two differ in the order of members, and in texts (spec, status, data), which are here as the API server wrote
// them.
//
// Guarantees:
//   - Every index is checked, nothing recurses, and what is carried is not nested too deeply: no input makes it panic.
//   - What it returns is valid JSON. What it cannot read is an error, and the caller goes the obvious way: AppendSlowly.
//   - The values of Secrets are replaced unless asked otherwise, and the copies of them in annotations: also where they are not what they
//     should be. Package wire says what of a copy may be seen.
//   - No allocation but for growing the caller's buffer, Services, annotations of Secrets, and copies of what may be one.
package walk
