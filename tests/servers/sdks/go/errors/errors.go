// Package errors has what the Go SDK needs of github.com/gogap/errors, which not every module proxy serves: templates of errors
// with a code, and the test whether an error was made of one.
package errors

import "fmt"

type Params map[string]interface{}

type ErrCodeTemplate struct {
	namespace string
	code      uint64
	template  string
}

type made struct {
	of     ErrCodeTemplate
	params []Params
}

func TN(namespace string, code uint64, template string) ErrCodeTemplate {
	return ErrCodeTemplate{namespace, code, template}
}

func (p ErrCodeTemplate) New(params ...Params) error {
	return &made{p, params}
}

func (p ErrCodeTemplate) IsEqual(err error) bool {
	found, ok := err.(*made)
	return ok && found.of == p
}

func (p *made) Error() string {
	return fmt.Sprintf("%s#%d %s %v", p.of.namespace, p.of.code, p.of.template, p.params)
}
