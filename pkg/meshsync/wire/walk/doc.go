// Package walk writes the wire form of an object straight from the JSON that the API server sends, in one pass and without building
// the object.
//
//	scan.go    JSON, read byte by byte: strings, values, members
//	object.go  one object: what of it is carried, and how
//	redact.go  what of a Secret is not
//
// It says the same as package wire does of a decoded object, at a fraction of the cost: Encoder.Encode there is the obvious way, and
// says what is right. The two differ in the order of members, and in texts (spec, status, data), which are here as the API server wrote
// them. The agent does not use it yet: its informers still decode.
//
// Guarantees:
//   - Every index is checked and nesting is limited: no input makes it panic or read outside of it.
//   - What it returns is valid JSON. What it cannot read is an error, and the caller goes the obvious way.
//   - The values of Secrets are replaced unless asked otherwise: also where they are not what they should be.
//   - No allocation but for growing the caller's buffer, Secrets with a copy in an annotation and Services.
package walk
